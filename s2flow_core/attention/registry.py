"""The ways to compute windowed attention, and what each of them can do.

What a backend needs is data, so that the door (`window_attention.py`) can choose, and say why it did not.
The code of a backend is imported when it first runs: the pack loads where Triton is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from .call import AttentionCall


@dataclass(frozen=True)
class Backend:
    """One way to compute an `AttentionCall`.

    module: where `run(call) -> Tensor` is, and optionally `refuses(call) -> str | None`, a sentence why it
    cannot compute a call that the rest allows. devices, dtypes, head_dims: what it accepts; None is anything.
    proven_on: devices on which the tests run it; on others its numbers are checked before they are used.
    whole_tiles: it computes the padding of partial tiles. eight_bits: it rounds queries and keys to that;
    `auto` takes it only where the attention that is installed does so too. by_installed: that attention
    computes it, so what is measured holds for it alone.
    """

    name: str
    module: str
    windows: bool = True
    tail: bool = True
    key_bias: bool = True
    devices: frozenset[str] | None = None
    dtypes: frozenset[torch.dtype] | None = None
    head_dims: frozenset[int] | None = None
    proven_on: frozenset[str] = frozenset()
    whole_tiles: bool = False
    eight_bits: bool = False
    by_installed: bool = False

    def refusal(self, call: AttentionCall) -> str | None:
        """Why this backend cannot compute the call, as a sentence; None if it can."""
        device, dtype, dim = call.q.device.type, call.q.dtype, call.q.shape[-1]
        if self.devices is not None and device not in self.devices:
            return f"it runs on {_listed(self.devices)}, and this model runs on {device}."
        if self.dtypes is not None and dtype not in self.dtypes:
            return f"it computes in {_listed(self.dtypes)}, and this model uses {dtype}."
        if self.head_dims is not None and dim not in self.head_dims:
            return f"it is built for heads of {_listed(self.head_dims)} channels, and this model has {dim}."
        if call.tail and not self.tail:
            return "it cannot add the tail of skipped tiles."
        if call.key_bias is not None and not self.key_bias:
            return "it cannot hide single keys, and this model passes a mask."
        return _unloadable(self.module) or self._refuses(call)

    def accepted(self, call: AttentionCall) -> bool:
        """Whether its rounding is one that the artist has accepted, by the attention that was installed."""
        return not self.eight_bits or (call.installed is not None and call.installed.eight_bits)

    def measured_as(self, call: AttentionCall) -> str:
        """Its name where speed and deviation are kept."""
        if self.by_installed and call.installed is not None:
            return f"{self.name} with {call.installed.name}"
        return self.name

    def run(self, call: AttentionCall) -> Tensor:
        """(B, heads, tokens, dim)"""
        return import_module(self.module, __package__).run(call)

    def _refuses(self, call: AttentionCall) -> str | None:
        refuses = getattr(import_module(self.module, __package__), "refuses", None)
        return refuses(call) if refuses else None


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("dense", ".backends.dense", windows=False),
        Backend("torch_boxes", ".backends.torch_boxes", proven_on=frozenset({"cpu"})),
        Backend(
            "installed_boxes", ".backends.installed_boxes", tail=False, key_bias=False, by_installed=True
        ),
        Backend(
            "triton_windows",
            ".backends.triton_windows",
            devices=frozenset({"cuda"}),
            dtypes=frozenset({torch.float16, torch.bfloat16}),
            head_dims=frozenset({64, 128}),
            whole_tiles=True,
        ),
        Backend(
            "triton_windows_int8",
            ".backends.triton_windows_int8",
            devices=frozenset({"cuda"}),
            dtypes=frozenset({torch.float16, torch.bfloat16}),
            head_dims=frozenset({64, 128}),
            whole_tiles=True,
            eight_bits=True,
        ),
    )
}


@cache
def _unloadable(module: str) -> str | None:
    """What keeps a backend's code from being imported on this machine, as a sentence."""
    try:
        import_module(module, __package__)
    except Exception as error:  # a broken Triton raises anything from ImportError to OSError
        return f"it could not be loaded ({error})."
    return None


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(str(value) for value in values))
