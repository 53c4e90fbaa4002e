"""Which names of ComfyUI a piece of code uses, read from its syntax."""

from __future__ import annotations

import ast
import importlib

ROOTS = ("comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "latent_preview")


def used_names(source: str) -> set[str]:
    """Dotted names of modules, and of what is taken out of them, as far as the code itself spells them."""
    tree = ast.parse(source)
    bound: dict[str, str] = {}  # what a name in the code stands for
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_of_comfyui(alias.name):
                    names.add(alias.name)
                    first = alias.name.partition(".")[0]
                    bound[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and is_of_comfyui(node.module or ""):
            for alias in node.names:
                names.add(f"{node.module}.{alias.name}")
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, *rest = spelled(node)
            if first in bound:
                names.add(".".join([bound[first], *rest]))
    return names


def is_of_comfyui(module: str) -> bool:
    return module.partition(".")[0] in ROOTS


def spelled(node: ast.expr) -> list[str]:
    """["a", "b", "c"] for a.b.c; [""] for what begins with anything but a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "", *parts]


def first_missing(name: str) -> str | None:
    """The shortest beginning of a dotted name that this ComfyUI does not have; None if it has all of it."""
    parts = name.split(".")
    found = None
    for count in range(1, len(parts) + 1):
        beginning = ".".join(parts[:count])
        if found is not None and hasattr(found, parts[count - 1]):
            found = getattr(found, parts[count - 1])
            continue
        try:
            found = importlib.import_module(beginning)
        except ImportError:
            return beginning
    return None
