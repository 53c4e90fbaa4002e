"""Makes a ComfyUI load this repository as a custom node pack, without copying anything into it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .installation import ROOT

PACK_NAME = "ComfyUI-S2Flow"
GENERATED = ROOT / ".host"


@dataclass(frozen=True)
class PackLink:
    """name: the pack's folder inside custom_nodes. config: the paths file for ComfyUI, if it needs one.

    others: folders of more packs to load.
    """

    name: str
    config: Path | None
    others: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Command-line arguments of ComfyUI that load this pack, the others and no more."""
        only_this = ["--disable-all-custom-nodes", "--whitelist-custom-nodes", self.name, *self.others]
        return (
            only_this if self.config is None else [*only_this, "--extra-model-paths-config", str(self.config)]
        )


def link_pack(comfyui: Path, generated: Path = GENERATED) -> PackLink:
    """Finds this repository among the packs of `comfyui`, or makes a folder of packs that links to it."""
    for folder in (comfyui / "custom_nodes").glob("*"):
        if folder.resolve() == ROOT:
            return PackLink(folder.name, None)
    packs = generated / "custom_nodes"
    packs.mkdir(parents=True, exist_ok=True)
    link = packs / PACK_NAME
    if not link.is_symlink() or link.resolve() != ROOT:
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(ROOT, packs.resolve()), target_is_directory=True)
    config = generated / "extra_model_paths.yaml"
    config.write_text(f"s2flow:\n  custom_nodes: {packs.resolve()}\n", encoding="utf-8")
    return PackLink(PACK_NAME, config)
