"""An allocator that says no: to the n-th large request, or to all above a limit."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class FailingAllocator(TorchDispatchMode):
    """large: bytes from which a request counts. nth: which of them fails. limit: bytes above which all do."""

    def __init__(self, large: int, nth: int | None = None, limit: int | None = None):
        super().__init__()
        self.large, self.nth, self.limit = large, nth, limit
        self.requests, self.failures = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and not self.is_view(func):
                self.request(tensor.numel() * tensor.element_size())
        return out

    @staticmethod
    def is_view(func: Any) -> bool:
        """Views and work in place ask for no memory."""
        schema = func._schema
        return any(argument.alias_info is not None for argument in schema.returns)

    def request(self, size: int) -> None:
        if size < self.large:
            return
        self.requests += 1
        if self.requests == self.nth or (self.limit is not None and size > self.limit):
            self.failures += 1
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
