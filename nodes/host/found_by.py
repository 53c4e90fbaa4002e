"""How an artist finds a node: by what it does, and in the short list that newer ComfyUIs show first."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.latest import io

ESSENTIALS = "Video Tools"
EVERY_NODE = ("s2flow", "video", "wan", "hunyuan")


def found_by(*words: str, essential: bool = False) -> dict[str, Any]:
    """The arguments of io.Schema for search words, as far as this ComfyUI has them: {} in 0.3.75.

    words: what the node does, in lower case; essential: whether it also stands under Essentials.
    """
    wanted: dict[str, Any] = {"search_aliases": [*words, *EVERY_NODE]}
    if essential:
        wanted["essentials_category"] = ESSENTIALS
    known = {field.name for field in fields(io.Schema)}
    return {name: value for name, value in wanted.items() if name in known}
