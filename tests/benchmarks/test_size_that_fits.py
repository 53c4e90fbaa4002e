"""Which video a card holds, by count."""

from __future__ import annotations

import pytest

from benchmarks.pipeline.cost import Plan, layer_bytes, size_that_fits
from benchmarks.pipeline.models import MODELS, VideoSize
from benchmarks.pipeline.tables import card_table

LIKE = VideoSize(2560, 1440, 81)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_the_size_that_fits_is_the_largest(name: str, in_pieces: bool):
    model = MODELS[name]
    free = 0.5 * layer_bytes(model, LIKE, in_pieces)
    fits = size_that_fits(model, LIKE, free, in_pieces)
    assert fits is not None and layer_bytes(model, fits, in_pieces) <= free
    larger = VideoSize(round((fits.height + 32) * 16 / 9 / 32) * 32, fits.height + 32, 81)
    assert layer_bytes(model, larger, in_pieces) > free
    assert size_that_fits(model, LIKE, 1.0, in_pieces) is None


def test_weights_on_the_card_leave_less_room_and_pieces_more():
    rows = card_table(MODELS["wan_14b"], Plan(VideoSize(1280, 720, 81), LIKE)).rows
    heights = {
        tuple(row[:2]): [int(str(size).split("x")[1]) if size != "none" else 0 for size in row[2:]]
        for row in rows
    }
    for card in (16, 24, 32, 80):
        streamed, kept = (heights[card, where] for where in ("in main memory", "fp8, on the card"))
        assert kept <= streamed and streamed[0] < streamed[1] and kept[0] <= kept[1]
    assert heights[16, "fp8, on the card"] == [0, 0], "14 GB of weights leave nothing"
