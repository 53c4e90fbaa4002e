"""What a clip shows, in words, and the tokens that the model reads for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from demo.vocabulary import TEXT_WIDTH
from training.fingerprint import file_fingerprint, fingerprint

from .videos import Unusable, unreadable


def caption_of(video: Path) -> str:
    """The text of `clip.txt` beside `clip.mp4`; empty where there is none. Raises Unusable."""
    path = video.with_suffix(".txt")
    try:
        return path.read_text(encoding="utf-8-sig").strip() if path.is_file() else ""
    except UnicodeDecodeError as problem:
        raise Unusable("its caption is no UTF-8 text", path.name) from problem
    except OSError as problem:
        raise unreadable(problem) from problem


class TextEncoder(Protocol):
    """A prompt to tokens (tokens, width). identity: changes with the files that it is made from."""

    identity: str

    def encode(self, text: str) -> Tensor: ...


class NoText:
    """Stands in where no text encoder is given: one token of zeros, whatever the text."""

    identity = "no text"

    def encode(self, text: str) -> Tensor:
        return torch.zeros(1, TEXT_WIDTH)


class CoreTextEncoder:
    """What core's Load CLIP makes of the files; they are read when the first text has to be encoded.

    kind: a name of core's CLIPType in any case, e.g. wan. Raises SystemExit for a kind that core does not
    know, and when the tokens are not as wide as Wan's.
    """

    def __init__(self, paths: list[Path], kind: str):
        import comfy.sd

        kinds = {member.name.lower(): member for member in comfy.sd.CLIPType}
        if kind.lower() not in kinds:
            raise SystemExit(f"--clip-type {kind}: ComfyUI knows {', '.join(sorted(kinds))}.")
        self.paths, self.kind = paths, kinds[kind.lower()]
        self.identity = fingerprint(kind.lower(), *map(file_fingerprint, paths))
        self._clip: Any = None
        self._last: tuple[str, Tensor] | None = None

    def encode(self, text: str) -> Tensor:
        if self._last is None or self._last[0] != text:
            self._last = (text, self._encoded(text))
        return self._last[1]

    def _encoded(self, text: str) -> Tensor:
        import comfy.sd

        if self._clip is None:
            self._clip = comfy.sd.load_clip([str(path) for path in self.paths], clip_type=self.kind)
        tokens = self._clip.encode_from_tokens_scheduled(self._clip.tokenize(text))[0][0][0]
        if tokens.shape[-1] != TEXT_WIDTH:
            raise SystemExit(
                f"--clip gives tokens of width {tokens.shape[-1]}, and Wan reads {TEXT_WIDTH}: give Wan's "
                f"text encoder (umt5_xxl) with --clip-type wan."
            )
        return tokens.float().cpu()


def text_encoder(paths: list[Path] | None, kind: str) -> TextEncoder:
    """The encoder of the files, or the one that stands for no text."""
    return CoreTextEncoder(paths, kind) if paths else NoText()
