"""Puts hooks into a model's options and takes them out again, leaving what others have put there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_patcher
import comfy.patcher_extension
import torch

from .forward_pass import ForwardPass

WRAPPER_KEY = "s2flow"


def with_wrapper(model_options: dict, kind: str, wrapper: Callable) -> dict:
    options = comfy.model_patcher.create_model_options_clone(model_options)
    comfy.patcher_extension.add_wrapper_with_key(kind, WRAPPER_KEY, wrapper, options, is_model_options=True)
    return options


@contextmanager
def replaced(options: dict, ours: dict) -> Iterator[None]:
    """Puts our parts into the transformer options themselves: what others write there meanwhile stays."""
    kept = {key: options[key] for key in ours if key in options}
    options.update(ours)
    try:
        yield
    finally:
        for key in ours:
            options.pop(key, None)
        options.update(kept)


def untraced(function: Callable, calls_too: bool = True) -> Callable:
    """Keeps torch.compile, once anyone uses it, from tracing a function: the graph breaks around it.

    calls_too: and all that it calls; else those are compiled by themselves.
    """
    if "torch._dynamo" not in sys.modules:
        return function
    return torch.compiler.disable(function, recursive=calls_too)


def announcing(forward: ForwardPass, number: int, below: Callable | None) -> Callable:
    """A replacement patch that runs a block as before and says which one is running."""

    def run_block(args: dict, extra: dict) -> dict:
        forward.enter(number)
        try:
            return below(args, extra) if below is not None else extra["original_block"](args)
        finally:
            forward.leave(number)

    return untraced(run_block, calls_too=False)
