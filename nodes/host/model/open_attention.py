"""Whether a model's self-attention asks ComfyUI's attention function, where hooks can see and answer it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

from ..families.family import ModelFamily

HOST_ATTENTION = "optimized_attention"


def closed_attention(patcher: Any, family: ModelFamily, model: Any) -> str | None:
    """The code that computes a self-attention without ComfyUI's attention function; None if there is none.

    Quantised models with kernels of their own bring such modules, other packs put such a function in the
    place of a `forward`: on the module, or as an object patch of the ModelPatcher. What passes this look at
    the code may still not arrive; the hooks notice that in the first step.
    """
    for path in family.attention_paths(model):
        block = path.removesuffix(".self_attn").removesuffix(".attn1")
        for place in dict.fromkeys((block, path)):
            forward = forward_of(patcher, place)
            if forward is not None and not reaches_host(forward):
                return f"{forward.__module__}.{forward.__qualname__}"
    return None


def forward_of(patcher: Any, place: str) -> Callable | None:
    """The plain function that a module of the diffusion model runs, patches of the model included."""
    name = f"diffusion_model.{place}"
    try:
        patched = patcher.object_patches.get(f"{name}.forward")
        module = patcher.get_model_object(name)
        return plain(patched or getattr(module, "_orig_mod", module).forward)
    except AttributeError:
        return None  # this version or pack builds the model otherwise


def plain(function: Any) -> Callable | None:
    """The function inside methods, partials, decorators and torch.compile; None if it is not Python."""
    for _ in range(10):
        inner = getattr(function, "_torchdynamo_orig_callable", None) or getattr(function, "__func__", None)
        if isinstance(function, functools.partial):
            inner = function.func
        if inner is None:
            break
        function = inner
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        function = vars(type(function)).get("__call__")
    return function if inspect.isfunction(function) else None


def reaches_host(function: Callable, depth: int = 3) -> bool:
    """Whether a function can reach ComfyUI's attention: itself, by what it calls, or by what it closes over.

    In doubt it can: what then does not arrive is noticed after one step, a needless refusal never.
    """
    home = function.__module__ or ""
    if home.startswith("comfy.") or HOST_ATTENTION in vars(sys.modules.get(home, object)):
        return True
    names = names_of(function.__code__)
    if HOST_ATTENTION in names or any("forward" in name or "orig" in name for name in names):
        return True  # it calls ComfyUI's function, or what was there before it
    if depth == 0:
        return False
    called = [function.__globals__[name] for name in names if name in function.__globals__]
    held = [cell.cell_contents for cell in function.__closure__ or () if cell_is_filled(cell)]
    inner = [plain(value) for value in called + held if callable(value) and not inspect.isclass(value)]
    return any(reaches_host(one, depth - 1) for one in inner if one is not None)


def cell_is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def names_of(code: CodeType) -> set[str]:
    """Names that a function uses, those of functions inside it included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_of(constant)
    return names
