"""Which ComfyUI the pack needs. Imports nothing of ComfyUI, so that an older one can be told so."""

from __future__ import annotations

import importlib
import re

NEEDED = (0, 3, 75)
Version = tuple[int, ...]


def running_version() -> Version | None:
    """The version of the ComfyUI that loads the pack; () where it is too old to say, None if unreadable."""
    try:
        text = str(importlib.import_module("comfyui_version").__version__)
    except ImportError:
        return ()
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return None if numbers is None else tuple(int(part) for part in numbers[1].split("."))


def refusal() -> str | None:
    """The sentence for a ComfyUI that is too old; None if it will do, or does not say what it is."""
    running = running_version()
    if running is None or running >= NEEDED:
        return None
    this = f"this is {written(running)}" if running else "this one is older"
    return (
        f"S²Flow needs ComfyUI {written(NEEDED)} or later, and {this}. Its nodes are left out; everything "
        "else works as before. Update ComfyUI to use them."
    )


def written(version: Version) -> str:
    return ".".join(map(str, version))
