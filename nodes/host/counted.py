"""Outputs whose memory ComfyUI's cache can count, so that `--cache-ram` knows what to let go first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from torch import Tensor

Output = TypeVar("Output")

# ComfyUI 0.3.75 counts a tensor at half its bytes, because what took long to make should go last.
_WORTH_KEEPING = 0.5


def counted(output: Output) -> Output:
    """The same object, of a subclass of its class that ComfyUI can look into; shares all tensors.

    ComfyUI 0.3.75 asks objects by `get_ram_usage`, later versions add up the tensors of tuples and ask
    nothing. So it is both, and otherwise what it was. What is made from it, as by dataclasses.replace, is of
    its own class again.
    """
    made = tuple.__new__(_counted_class(type(output)), tuple(_tensors(output)))
    made.__dict__.update(vars(output))
    return made


class _Counted(tuple[Any, ...]):
    """A tuple of its own tensors that compares, prints and counts as true like any object."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__
    __repr__ = object.__repr__

    def __bool__(self) -> bool:
        return True

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies and pickles are of the class that it was made from, which other processes can find."""
        return object.__new__, (type(self).__bases__[0],), dict(vars(self))

    def get_ram_usage(self) -> float:
        """In bytes, as ComfyUI 0.3.75 weighs them."""
        return _WORTH_KEEPING * sum(tensor.numel() * tensor.element_size() for tensor in self)


@cache
def _counted_class(of: type) -> type:
    def plain(_: type, *given: Any, **named: Any) -> Any:
        return of(*given, **named)

    # The class itself goes first, so that it keeps its own comparison and text.
    return type(of.__name__, (of, _Counted), {"__new__": plain, "__module__": of.__module__})


def _tensors(value: Any) -> Iterator[Tensor]:
    """The CPU tensors that an output holds, in its attributes and in what those hold."""
    if isinstance(value, Tensor):
        if value.device.type == "cpu":
            yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from _tensors(list(vars(value).values()))
