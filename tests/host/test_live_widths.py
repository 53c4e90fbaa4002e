"""Memory of a layer, counted in ComfyUI's own blocks."""

from __future__ import annotations

import pytest
from present_host import knows, lacks

from benchmarks.pipeline.live_widths import BUILDERS, CHUNKS, live_widths
from benchmarks.pipeline.models import MODELS

pytestmark = pytest.mark.usefixtures("comfy_modules")


def test_every_model_is_counted():
    assert set(BUILDERS) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_printed_is_what_comfyuis_blocks_take(name: str):
    if not knows("comfy.ldm.wan.model", "WanFeedForward"):
        lacks("feed-forward layers that free their hidden layer early, as the counted figures have them,")
    live = MODELS[name].live
    assert live_widths(name) == pytest.approx(live.whole, abs=0.06)
    assert live_widths(name, CHUNKS) == pytest.approx(live.in_pieces, abs=0.06)


@pytest.mark.parametrize(
    ("name", "saved"),
    [("hunyuan_video", 0.0), ("hunyuan_video_15", 0.05), ("wan_1.3b", 0.3), ("ltx_video", 0.15)],
)
def test_pieces_save_memory_in_every_version(name: str, saved: float):
    """saved: at least that share; most where the hidden layer is widest, nothing where single blocks lead."""
    assert live_widths(name, CHUNKS) <= (1 - saved) * live_widths(name)
