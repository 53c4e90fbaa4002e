"""What sharing attention among GPUs brings, by count, against arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.pipeline.cost import Plan, step_cost, windows_for
from benchmarks.pipeline.models import MODELS, VideoSize
from benchmarks.pipeline.sharing import CARDS, Card, counts_up_to, shared_step, sharing_table

LOW, HIGH = VideoSize(1280, 768, 117), VideoSize(2560, 1536, 117)
MODEL = MODELS["wan_14b"]
FREE = Card("no time to travel", 1e14, 1e30)


@pytest.mark.parametrize("gpus", [2, 4, 8])
@pytest.mark.parametrize("size", [LOW, HIGH])
def test_where_copies_take_no_time_it_is_amdahls_law(size, gpus):
    cost = step_cost(MODEL, size)
    share = cost.self_attention / cost.total
    found = shared_step(MODEL, size, cost, FREE, gpus)
    assert found.speedup == pytest.approx(1 / (1 - share + share / gpus))
    assert found.shipping == pytest.approx(0, abs=1e-9)


def test_one_gpu_changes_nothing():
    assert shared_step(MODEL, LOW, step_cost(MODEL, LOW), CARDS[0], 1).speedup == pytest.approx(1)


def test_a_link_that_is_too_slow_is_what_counts():
    """q, k and v of half the heads of 115,200 tokens are .88 GB each; at 1 GB/s they take 1.77 s per call."""
    cost = step_cost(MODEL, LOW)
    slow = replace(CARDS[0], link=1e9)
    calls = MODEL.layers * MODEL.passes
    rest = (cost.total - cost.self_attention) / slow.flops
    together = rest + calls * 3 * 115_200 * 5120 * 2 / 2 / 1e9
    found = shared_step(MODEL, LOW, cost, slow, 2)
    assert found.speedup == pytest.approx(cost.total / slow.flops / together)
    assert found.speedup < 1


def test_at_large_sizes_published_cards_lose_little_to_copies():
    """Attention is 88.5 % of a step: 1/(1 - .885/2) = 1.79, and 1/(1 - .885·7/8) = 4.43 on eight."""
    cost = step_cost(MODEL, HIGH, windows_for(MODEL, HIGH, 0.5))
    two, eight = (shared_step(MODEL, HIGH, cost, card, n) for card, n in ((CARDS[0], 2), (CARDS[2], 8)))
    assert 1.77 < two.speedup < 1.794
    assert 4.3 < eight.speedup < 4.43


@pytest.mark.parametrize(
    ("gpus", "counts"), [(2, [2]), (3, [2, 3]), (4, [2, 4]), (8, [2, 4, 8]), (6, [2, 4, 6])]
)
def test_columns(gpus, counts):
    assert counts_up_to(gpus) == counts


def test_the_table_says_that_nothing_was_measured():
    text = sharing_table(MODEL, Plan(LOW, HIGH), 4).text()
    assert "Counted, never measured, and not yet run on CUDA." in text
    assert "4 GPUs" in text and "RTX 4090" in text
