"""More of ComfyUI's options from a manifest, and those that the farm sets itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from .refusal import Refusal

_ALONE = "each worker has a port of its own on 127.0.0.1"
_FOLDERS = "each worker writes into folders of its own"
# Option -> why it is not the manifest's. What the farm sets comes first, so these would win.
OURS = {
    "--listen": _ALONE,
    "--port": _ALONE,
    "--tls-keyfile": _ALONE,
    "--tls-certfile": _ALONE,
    "--base-directory": "name the folders by comfyui, models and inputs in the manifest",
    "--input-directory": "name the folder by inputs in the manifest",
    "--models-directory": "name the folder by models in the manifest",
    "--output-directory": _FOLDERS,
    "--temp-directory": _FOLDERS,
    "--user-directory": _FOLDERS,
    "--database-url": _FOLDERS,
    "--whitelist-custom-nodes": "name the folders by custom_nodes in the manifest",
    "--disable-all-custom-nodes": "it loads those alone that custom_nodes in the manifest names",
}


def arguments_of(file: Path, value: Any) -> tuple[str, ...]:
    """The options of `args`, a text as in a shell or a list; raises Refusal for those of the farm."""
    if value is not None and not isinstance(value, str | list):
        raise Refusal(f"{file.name}: args are ComfyUI's options, as in  args: --fast --lowvram")
    try:
        words = shlex.split(value) if isinstance(value, str) else [str(word) for word in value or ()]
    except ValueError as problem:
        raise Refusal(f"{file.name}: args: {problem}. Close the quotes: {value}") from problem
    for word in words:
        if ours := farms_option(word):
            raise Refusal(f"{file.name}: leave {word} out of args: {OURS[ours]}.")
    return tuple(words)


def farms_option(word: str) -> str:
    """The option of the farm that a word sets, or ""; ComfyUI takes beginnings of options too."""
    name = word.partition("=")[0]
    if not name.startswith("--") or len(name) < 4:
        return ""
    return next((option for option in OURS if option.startswith(name)), "")
