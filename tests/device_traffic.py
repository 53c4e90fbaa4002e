"""Counts what makes a GPU wait, on tensors that only pretend to be on one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READ_BACK = (
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "masked_select",
    "equal",
    "_unique2",
    "unique_dim",
)
"""Operations of which the CPU must know the result, be it only its size."""


class DeviceTraffic(TorchDispatchMode):
    """waits: how often each kind of operation read back from the device or copied between it and the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        by_mask = name == "index" and any(x.dtype == torch.bool for x in given[1:])
        if name in READ_BACK or by_mask:
            self.waits["index by a mask" if by_mask else name] += 1
        out = func(*args, **kwargs or {})
        results = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        # A number without axes from the CPU travels with the launch.
        devices = {x.device.type for x in (*given, *results) if x.ndim or name in ("copy_", "_to_copy")}
        if len(devices) > 1:
            self.waits[f"{name} between devices"] += 1
        return out
