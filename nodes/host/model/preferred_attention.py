"""The attention backend that a checkpoint asks for, which later versions keep on the model's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def preferred_attention(model: Any) -> Callable | None:
    """The function that every attention of a model prefers to ComfyUI's; None unless they name just one.

    ComfyUI asks it only where no override is set. An override that leaves a call alone is not told of it, so
    it has to be asked here.
    """
    if not isinstance(model, nn.Module):
        return None
    holders = (module.comfy_attention for module in model.modules() if hasattr(module, "comfy_attention"))
    preferred = {getattr(holder, "function", None) for holder in holders}
    return preferred.pop() if len(preferred) == 1 else None
