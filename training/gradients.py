"""Keeps ComfyUI's networks differentiable while they are trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def core_with_gradients() -> Iterator[None]:
    """Core's operations with gradients, for a forward pass and its backward pass.

    Later versions compute positions, norms and activations by fused kernels that have no gradient, unless
    `in_training` is set, as core's own training node sets it. Without ComfyUI there is nothing to set.
    """
    management: Any = sys.modules.get("comfy.model_management")
    if not hasattr(management, "in_training"):
        yield
        return
    before = management.in_training
    management.in_training = True
    try:
        yield
    finally:
        management.in_training = before
