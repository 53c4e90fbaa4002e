"""Looks for the layer in which NaN or infinity begins, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from threading import local
from typing import Any

from torch import Tensor

from ....s2flow_core.latent.finite import all_finite
from ..families import family_of
from .call import SelfAttentionCall
from .forward_pass import ForwardPass
from .hook import SelfAttentionHook
from .model_options import untraced


class Here(local):
    """Where a thread's forward pass is. layer: of its last self-attention. attending: whether it runs one."""

    layer: int | None = None
    attending = False


class FiniteSearch(SelfAttentionHook):
    """Changes no result. found: the first place, in words; None as long as every number is one."""

    work = "the search for NaN"
    sees_calls = True

    def __init__(self, family: Any, model: Any):
        super().__init__(family, model)
        self.found: str | None = None
        # Under core's MultiGPU CFG Split several threads run the model at once.
        self.here = Here()

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        self.here.layer, self.here.attending = call.layer, True
        if not all(all_finite(x) for x in (call.q, call.k, call.v)):
            self.note(f"before the attention of layer {call.layer}")
        return None

    def override_above(self, below: Callable | None, forward: ForwardPass) -> Callable:
        unchanged = super().override_above(below, forward)

        def override(*given: Any, **named: Any) -> Tensor:
            self.here.attending = False
            out = unchanged(*given, **named)
            if not all_finite(out):
                self.note(self.place())
            return out

        return untraced(override)

    def place(self) -> str:
        layer = self.here.layer
        if self.here.attending:
            return f"in the attention of layer {layer}"
        return "before the first layer" if layer is None else f"in layer {layer}, after its attention"

    def note(self, place: str) -> None:
        self.found = self.found or place

    def fall_back(self, reason: str) -> None:
        """It answers nothing, so nothing falls back."""


def search_of(model: Any) -> FiniteSearch | None:
    """For a diffusion model; None where its attention layers are not known."""
    family = family_of(model)
    return None if family is None else FiniteSearch(family, model)
