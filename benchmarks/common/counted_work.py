"""Operations and bytes of torch code, counted while it runs on tensors that need not hold numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

FREE = ("empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view")
GATHERING = ("index", "index_select")
"""Operations that read as much as they write, whatever they are given."""


class CountedWork(TorchDispatchMode):
    """flops: a multiply-add counts as two, anything else as one per number. bytes: read and written by every
    operation, as if no cache kept them; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # a question, which torch knows no parts of
            return func(*args, **kwargs or {})
        with self:  # in inference mode torch hands on what is made of several operations, e.g. matmul
            out = func.decompose(*args, **kwargs or {})
        if out is not NotImplemented:
            return out
        out = func(*args, **kwargs or {})
        given, made = ([x for x in tree_leaves(part) if isinstance(x, Tensor)] for part in (args, out))
        name = func.overloadpacket.__name__
        if made and not func.is_view and name not in FREE:
            self.bytes += sum(map(size_of, (*(made if name in GATHERING else given), *made)))
            count = flop_registry.get(func.overloadpacket)
            numbers = sum(x.numel() for x in made)
            self.flops += count(*args, **kwargs or {}, out_val=out) if count else numbers
        return out


def size_of(x: Tensor) -> int:
    """Bytes of the numbers that a tensor really has: an expanded axis has them once."""
    numbers = 1
    for length, stride in zip(x.shape, x.stride(), strict=True):
        numbers *= length if stride else min(length, 1)
    return numbers * x.element_size()
