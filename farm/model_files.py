"""What a worker makes clips with: versions and digests, so that all workers make them with the same."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfyui_runner.installation import ROOT

from .addresses import Json
from .keys import pack_digest, sampled_digest
from .refusal import Refusal

MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
MISSING = "missing"


@dataclass(frozen=True)
class Equipment:
    """host: for sentences. comfyui: its version. pack: digest of the pack. models: file name -> digest."""

    host: str
    comfyui: str
    pack: str
    models: dict[str, str]


def equipment_of(comfyui: Path, models: Path | None, names: Iterable[str]) -> Equipment:
    """Of this machine, for the model files that the workflows name."""
    folders = [folder for folder in (models, comfyui / "models", ROOT / "demo" / "models") if folder]
    version = comfyui / "comfyui_version.py"
    return Equipment(
        platform.node(),
        version.read_text(encoding="utf-8").split('"')[-2] if version.is_file() else "unknown",
        pack_digest(ROOT),
        {name: digest_of(name, folders) for name in names},
    )


def digest_of(name: str, folders: Sequence[Path]) -> str:
    for folder in folders:
        for kind in sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else ():
            if (kind / name).is_file():
                return sampled_digest(kind / name)
    # ComfyUI may know more folders than these; it will say so itself where it finds no file either.
    return MISSING


def model_names(prompts: Iterable[Json]) -> list[str]:
    """The model files that prompts name, each once."""
    return sorted({name for prompt in prompts for name in _names_in(prompt)})


def _names_in(prompt: Json) -> Iterator[str]:
    for node in prompt.values():
        for value in node["inputs"].values():
            if isinstance(value, str) and value.endswith(MODEL_SUFFIXES):
                yield value


def require_same(first: Equipment, other: Equipment) -> None:
    """Raises Refusal where a worker would make its clips with something else than the first one."""
    for what, of_first, of_other in (
        ("ComfyUI", first.comfyui, other.comfyui),
        ("S²Flow pack", first.pack, other.pack),
        *((f"model {name}", digest, other.models.get(name)) for name, digest in first.models.items()),
    ):
        if of_first != of_other:
            raise Refusal(
                f"{other.host} has another {what} than {first.host} "
                f"({short(of_other)}, not {short(of_first)}). Copy it over, or leave that machine out."
            )


def short(text: str | None) -> str:
    return (text or MISSING)[:12]
