"""The precision that a processor trains fastest in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import autocast


def fast_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 where the device has arithmetic for it; a CPU that emulates it takes 7 times as long.

    device: the type of a torch device, "cpu" or "cuda".
    """
    emulated = device == "cpu" and not torch.cpu._is_avx512_bf16_supported()
    return torch.float32 if emulated else torch.bfloat16


def fast_precision(device: str = "cpu") -> AbstractContextManager:
    """Matrix products in `fast_dtype`."""
    if fast_dtype(device) == torch.float32:
        return nullcontext()
    return autocast(device, torch.bfloat16)
