"""Kept pairs come back in batches of one shape, without damaged files."""

from __future__ import annotations

from pathlib import Path

import torch

from training.refiner.data.pair_cache import Pair, PairCache


def test_pairs_are_grouped_by_shape_and_a_damaged_one_is_dropped(tmp_path: Path):
    cache = PairCache(tmp_path)
    for name, side in (("a", 8), ("b", 8), ("c", 4)):
        latent = torch.full((16, 3, side, side), 0.5)
        cache.add(name, Pair(latent, latent, torch.zeros(1, 8)))
    (tmp_path / "d.safetensors").write_bytes(b"half a file")
    groups = PairCache(tmp_path).groups(["a", "b", "c", "d"])
    assert sorted(len(group) for group in groups) == [1, 2]
    high, low, context = cache.batch(groups[0], frames=2)
    assert high.shape == low.shape == (2, 16, 2, 8, 8)
    assert context.shape == (2, 1, 8)


def test_texts_of_a_batch_are_as_long_as_the_longest(tmp_path: Path):
    cache = PairCache(tmp_path)
    latent = torch.zeros(16, 1, 4, 4)
    for name, tokens in (("a", 2), ("b", 3)):
        cache.add(name, Pair(latent, latent, torch.ones(tokens, 8)))
    _, _, context = cache.batch([cache.path("a"), cache.path("b")])
    assert context.sum(dim=2).tolist() == [[8, 8, 0], [8, 8, 8]]
    cache.add_text("empty", torch.ones(1, 8))
    assert torch.equal(cache.text("empty"), torch.ones(1, 8))
