"""The cost model against numbers that are known from elsewhere, and the measured run on a very small size."""

from __future__ import annotations

import pytest
import torch

from benchmarks.common.live_memory import LiveMemory
from benchmarks.pipeline import timed_layers
from benchmarks.pipeline.cost import (
    SKIPPING,
    Plan,
    Windows,
    density_for,
    memory_parts,
    stage_flops,
    step_cost,
    windows_for,
)
from benchmarks.pipeline.models import MODELS, VideoSize
from benchmarks.pipeline.tables import problems_of
from benchmarks.pipeline.timed_layers import measure
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach import measure as reach_measure
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid

LOW, HIGH = VideoSize(1280, 768, 117), VideoSize(2560, 1536, 117)


@pytest.mark.parametrize(
    ("name", "billions"), [("hunyuan_video", 12.8), ("wan_14b", 14.2), ("wan_1.3b", 1.4), ("wan22_5b", 5.0)]
)
def test_parameters_are_those_of_the_published_models(name, billions):
    assert MODELS[name].parameters / 1e9 == pytest.approx(billions, rel=0.06)


def test_tokens_and_attention_of_the_papers_sizes():
    """115,200 and 460,800 tokens; 1.631e14 and 2.609e15 operations per layer."""
    model = MODELS["hunyuan_video"]
    for size, tokens, operations in ((LOW, 115_200, 1.631e14), (HIGH, 460_800, 2.609e15)):
        assert model.tokens(size) == tokens
        # With the 256 text tokens a little more.
        assert step_cost(model, size).self_attention / 60 == pytest.approx(operations, rel=0.005)
    assert MODELS["wan22_5b"].grid(HIGH) == (30, 48, 80)


def test_minimax_h3_at_its_own_size_and_twice_it():
    """124 frames of 1344×768 are 37 latent ones of 24×42 tokens, beside 512 of text and 414 of sound."""
    model = MODELS["minimax_h3"]
    small, large = VideoSize(1344, 768, 124), VideoSize(2688, 1536, 124)
    assert model.grid(small) == (37, 24, 42)
    assert model.tokens(large) == 4 * 37_296
    assert model.beside(large) == model.beside(small) == 512 + 414
    tokens = 37_296 + 926
    # q·k and its product with v, 56 heads of 128, in 50 layers and two passes.
    assert step_cost(model, small).self_attention == pytest.approx(100 * 4 * 56 * 128 * tokens**2)
    assert step_cost(model, small).linear == pytest.approx(100 * 2 * tokens * 385_351_680)


@pytest.mark.parametrize(("frames", "latent"), [(5, 2), (22, 7), (124, 37), (362, 107)])
def test_latent_frames_of_minimax_h3(frames, latent):
    assert MODELS["minimax_h3"].latent(VideoSize(1344, 768, frames))[0] == latent


def test_the_density_for_a_speed_gives_that_speed():
    model, plan = MODELS["hunyuan_video"], Plan(LOW, HIGH)
    tail = windows_for(model, HIGH, plan.s).tail_tiles
    windows = Windows(density_for(model, plan, 4.0), tail)
    stage = plan.steps_left * step_cost(model, plan.high, windows).total
    assert plan.steps * step_cost(model, plan.high).total / stage == pytest.approx(4.0)


def test_windows_stay_below_s_and_count_the_tail():
    windows = windows_for(MODELS["hunyuan_video"], HIGH, 0.5)
    assert 0.45 < windows.density <= 0.5
    assert windows.tail_tiles == 15 * 12 * 20


def test_ways_differ_where_they_should():
    model, plan = MODELS["wan_14b"], Plan(LOW, HIGH, skip_share=0.34)
    ways = stage_flops(model, plan, vae=None)
    assert plan.calls_left == 20
    assert ways[SKIPPING]["high-res"] == pytest.approx(ways["S²Flow"]["high-res"] * 20 / 30)
    assert ways["S²Flow"]["high-res"] < ways["cascade, dense"]["high-res"] < ways["direct"]["high-res"]
    assert 0 < ways["S²Flow"]["capture"] < 0.02 * ways["S²Flow"]["low-res"]
    assert not any("VAE" in stage for stages in ways.values() for stage in stages)
    with_vae = stage_flops(model, plan, vae=(2.0, 1.0))
    assert with_vae["S²Flow"]["VAE between"] == 2.0 * LOW.pixels + HIGH.pixels


def test_the_goal_is_missed_at_half_and_reached_at_a_third():
    model = MODELS["hunyuan_video"]
    (missed,) = problems_of(model, Plan(LOW, HIGH, s=0.5))
    assert missed == "HR stage: 3.24 times fewer operations than 50 direct steps, not 4."
    assert problems_of(model, Plan(LOW, HIGH, s=0.33)) == []


def test_memory_grows_with_the_tokens_and_not_with_their_square():
    model = MODELS["hunyuan_video"]
    once, twice = (
        memory_parts(model, Plan(low, high))
        for low, high in ((LOW, HIGH), (VideoSize(1280, 768, 237), VideoSize(2560, 1536, 237)))
    )
    assert model.tokens(VideoSize(2560, 1536, 237)) == 2 * model.tokens(HIGH)
    for part in once:
        assert twice[part] <= 2 * once[part], part


def test_windows_that_are_computed_wrongly_are_never_timed(monkeypatch):
    def halved(q, *_, **__):
        return q / 2

    monkeypatch.setattr(timed_layers, "window_attention", halved)
    plan = Plan(VideoSize(64, 64, 5), VideoSize(128, 128, 5))
    with pytest.raises(RuntimeError, match="differs from its definition"):
        measure(MODELS["wan_1.3b"], plan, "cpu", depth=1, rounds=1)


def test_a_measured_run_extrapolates_over_all_layers():
    plan = Plan(VideoSize(64, 64, 5), VideoSize(128, 128, 5))
    model = MODELS["wan_1.3b"]
    measured = measure(model, plan, "cpu", depth=1, rounds=1)
    steps = measured.steps(model)
    assert steps["LR"] == pytest.approx(30 * 2 * (measured.low_linear + measured.low_dense))
    assert steps["LR with capture"] == pytest.approx(steps["LR"] + 30 * measured.capture)
    assert min(steps.values()) > 0
    assert 0 < measured.density <= 0.5 + 1e-9
    assert measured.extra_memory is None


def test_memory_of_a_capture_is_what_measuring_a_piece_takes(monkeypatch):
    """With as many heads and rows as the paper's run, on a grid that its tiles divide, one head per piece."""
    model, plan, grid = MODELS["hunyuan_video"], Plan(LOW, HIGH), TokenGrid((4, 16, 24), (2, 8, 8))
    most, piece = reach_measure.MOST_BY_KERNEL, plan.rows * grid.tokens
    monkeypatch.setattr(reach_measure, "LEAST_LOGITS", piece)
    monkeypatch.setattr(reach_measure, "MOST_LOGITS", piece)
    q, k, v = (torch.randn(1, model.heads, grid.tokens, 16) for _ in range(3))
    with LiveMemory() as memory:
        measure_reach_and_error(q, k, v, VideoSequence(grid), sample_query_rows(grid, plan.rows, 0))
    (promised,) = (size for part, size in memory_parts(model, plan).items() if "capture" in part)
    assert memory.peak / piece == pytest.approx(promised / most, rel=0.1)
