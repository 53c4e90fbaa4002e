"""A digest of what a run is really given: the same values give the same digest in any process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from ....s2flow_core.files.layout import bytes_of, view_of

# ComfyUI draws a new id for a condition in every process.
UNSTABLE = frozenset({"uuid"})
SAMPLED = 8  # numbers of each weight
DEEPEST = 6


def digest_of_content(*values: Any) -> str:
    digest = blake2b(digest_size=16)
    for piece in pieces(values, 0):
        digest.update(piece)
    return digest.hexdigest()


def pieces(value: Any, depth: int) -> Iterator[bytes | memoryview]:
    """A value as bytes: tensors, numbers, text, containers, dataclasses; of other objects their kind."""
    if isinstance(value, Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield tensor_bytes(value)
    elif value is None or isinstance(value, (bool, int, float, str)):
        yield f"{type(value).__name__}:{value!r};".encode()
    elif isinstance(value, dict):
        for name in sorted(value, key=str):
            if name not in UNSTABLE:
                yield f"{name}=".encode()
                yield from pieces(value[name], depth)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.compare:  # else it says nothing of what the run makes, such as what a step took
                yield from pieces(getattr(value, field.name), depth)
    elif isinstance(value, (list, tuple)):
        yield f"{len(value)}[".encode()
        for item in value:
            yield from pieces(item, depth)
    elif getattr(value, "is_nested", False):
        yield from pieces(list(value.unbind()), depth)
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__};".encode()
        inner = getattr(value, "cond", None)  # of what conditioning becomes on its way to the model
        if inner is not None and depth < DEEPEST:
            yield from pieces(inner, depth + 1)


def tensor_bytes(tensor: Tensor) -> memoryview:
    return view_of(bytes_of(tensor.detach().to("cpu").contiguous()))


def guider_content(guider: Any, depth: int = 0) -> list[Any]:
    """A guider's kind, settings, conditions and model, and the same of guiders inside it."""
    own = dict(getattr(guider, "__dict__", {}))
    settings = {k: v for k, v in own.items() if isinstance(v, (bool, int, float, str))}
    content = [type(guider).__qualname__, settings, own.get("original_conds")]
    if "model_patcher" in own:
        content.append(model_content(own["model_patcher"]))
    if depth < DEEPEST:
        for name in sorted(own):
            inner = own[name]
            if name != "model_patcher" and hasattr(inner, "sample") and hasattr(inner, "model_patcher"):
                content.append([name, guider_content(inner, depth + 1)])
    return content


def model_content(patcher: Any) -> list[Any]:
    """Of a ModelPatcher: every weight's form and first numbers, as they are without patches, and the patches.

    All numbers of a large model would take minutes to read.
    """
    unpatched = getattr(patcher, "backup", {})
    weights = {}
    for name, weight in patcher.model.state_dict().items():
        kept = unpatched.get(name)
        weights[name] = sampled(weight if kept is None else kept.weight)
    patches = {key: [sampled_patch(patch) for patch in of] for key, of in patcher.patches.items()}
    return [type(patcher.model).__name__, weights, patches]


def sampled(weight: Any) -> Any:
    if not isinstance(weight, Tensor):
        return type(weight).__name__
    form = [str(weight.dtype), list(weight.shape)]
    if type(weight) not in (Tensor, torch.nn.Parameter):
        return [*form, type(weight).__name__]  # quantized weights would be unpacked whole
    return [*form, weight.detach().flatten()[:SAMPLED].to("cpu", torch.float32)]


def sampled_patch(patch: Any) -> Any:
    """Its strengths and offsets, and the first numbers of its tensors."""
    if isinstance(patch, Tensor):
        return sampled(patch)
    if isinstance(patch, (list, tuple)):
        return [sampled_patch(part) for part in patch]
    if hasattr(patch, "weights"):
        return [type(patch).__name__, sampled_patch(patch.weights)]
    return patch if isinstance(patch, (bool, int, float, str)) else type(patch).__name__
