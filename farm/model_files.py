"""What a worker makes clips with: versions and digests, so that all workers make them with the same."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfyui_runner.installation import ROOT

from .addresses import Json
from .keys import code_digest, pack_digest, sampled_digest
from .refusal import Refusal

MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
MISSING = "missing"


@dataclass(frozen=True)
class Equipment:
    """host: for sentences. comfyui: its version. pack: digest of the pack. models: file name -> digest.

    custom_nodes: folder of another pack -> digest of its code.
    """

    host: str
    comfyui: str
    pack: str
    models: dict[str, str]
    custom_nodes: dict[str, str] = field(default_factory=dict)


def equipment_of(
    comfyui: Path, models: Path | None, names: Iterable[str], custom_nodes: Iterable[str] = ()
) -> Equipment:
    """Of this machine, for the model files that the workflows name and the packs that the manifest names."""
    folders = [folder for folder in (models, comfyui / "models", ROOT / "demo" / "models") if folder]
    return Equipment(
        platform.node(),
        version_of(comfyui),
        pack_digest(ROOT),
        {name: digest_of(name, folders) for name in names},
        custom_node_digests(comfyui, custom_nodes),
    )


def version_of(comfyui: Path) -> str:
    file = comfyui / "comfyui_version.py"
    return file.read_text(encoding="utf-8").split('"')[-2] if file.is_file() else "unknown"


def custom_node_digests(comfyui: Path, names: Iterable[str]) -> dict[str, str]:
    folder = comfyui / "custom_nodes"
    return {
        name: code_digest(folder, [folder / name]) if (folder / name).exists() else MISSING for name in names
    }


def versions_of(comfyui: Path, custom_nodes: Iterable[str]) -> str:
    """All on which the meaning of a saved workflow depends, as a text that changes with any of it."""
    others = custom_node_digests(comfyui, custom_nodes)
    return "\n".join([version_of(comfyui), pack_digest(ROOT), *(f"{name} {others[name]}" for name in others)])


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
        *(
            (f"{name} in custom_nodes", it, other.custom_nodes.get(name))
            for name, it in first.custom_nodes.items()
        ),
    ):
        if of_first != of_other:
            raise Refusal(
                f"{other.host} has another {what} than {first.host} "
                f"({short(of_other)}, not {short(of_first)}). Copy it over, or leave that machine out."
            )


def short(text: str | None) -> str:
    return (text or MISSING)[:12]
