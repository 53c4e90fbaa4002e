"""Which ComfyUI the tests run in, and the one sentence with which they skip what it does not have."""

from __future__ import annotations

import importlib
from typing import NoReturn

import pytest


def version() -> str:
    """Of the ComfyUI at hand, e.g. "0.3.75"."""
    from comfyui_version import __version__ as present

    return present


def lacks(what: str) -> NoReturn:
    """Skips a test of something that later versions have. what: in the words "ComfyUI 0.3.75 has no ..."."""
    pytest.skip(f"ComfyUI {version()} has no {what} yet")


def knows(module: str, name: str) -> bool:
    """Whether this ComfyUI has a module with such a class or function."""
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


def older_than(needed: str) -> bool:
    """Whether this ComfyUI comes before a version, e.g. "0.33.0"."""
    return numbers(version()) < numbers(needed)


def numbers(of_version: str) -> tuple[int, ...]:
    """ "0.3.75" -> (0, 3, 75)"""
    return tuple(map(int, of_version.split(".")))
