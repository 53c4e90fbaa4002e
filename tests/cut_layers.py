"""Counts the pieces in which feed-forward layers run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def counted_pieces(layers: Iterable[Any]) -> Iterator[Counter]:
    """Tokens of a piece -> how many of them the layers were given; seen at the first product inside each."""
    pieces: Counter = Counter()

    def count(_: Any, given: tuple) -> None:
        pieces[given[0].shape[-2]] += 1

    products = [next(part for part in layer.modules() if hasattr(part, "out_features")) for layer in layers]
    handles = [product.register_forward_pre_hook(count) for product in products]
    try:
        yield pieces
    finally:
        for handle in handles:
            handle.remove()
