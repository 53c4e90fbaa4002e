"""Bytes of all tensors alive at once, counted as they are made and freed."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """peak: most bytes alive at once among the tensors made while it is entered; largest: elements of one."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = self.largest = 0
        self.owners: Counter = Counter()  # storage address -> tensors that use it
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {self.address(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **kwargs or {})
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.watch(tensor, known)
        return out

    @staticmethod
    def address(tensor: Tensor) -> int:
        """Of the storage's description: fake tensors have no numbers, and their pointers are all 0."""
        return tensor.untyped_storage()._cdata

    def watch(self, tensor: Tensor, known: set[int]) -> None:
        address = self.address(tensor)
        if address not in self.owners:
            if address in known:
                return  # a view of something older than this count
            self.sizes[address] = tensor.untyped_storage().nbytes()
            self.live += self.sizes[address]
            self.peak = max(self.peak, self.live)
            self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
        self.owners[address] += 1
        weakref.finalize(tensor, self.release, address)

    def release(self, address: int) -> None:
        self.owners[address] -= 1
        if self.owners[address] == 0:
            del self.owners[address]
            self.live -= self.sizes.pop(address)
