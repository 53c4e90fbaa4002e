"""The reach kernel measures what torch measures, in Triton's interpreter or compiled on a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from query_rows import some_rows
from triton_interpreter import (
    DEVICE,
    ON_A_GPU,
    needs_triton,
    on_device,
    only_on_a_gpu,
    only_where_kernels_run,
    pass_in_interpreter,
    starts_interpreter,
)

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.kernels.launch_table import Launch
from s2flow_core.reach import choice, measure, output_error
from s2flow_core.reach.choice import Held
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.reach.tile_sums import torch_tile_sums
from s2flow_core.windows.grid import TokenGrid, choose_reach_tile
from s2flow_core.windows.ladder import extent_ladder

LAUNCHES = (Launch(16, 16, 4, 1), Launch(32, 64, 4, 1))
DTYPES = (torch.bfloat16, torch.float16) if ON_A_GPU else (torch.float32, torch.float16)
ROUNDING = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
"""The kernel weighs the values in the model's precision."""

MASS_ROUNDING = 5e-5 if ON_A_GPU else 1e-5
"""Tensor cores do not round the sums of their products to the nearest."""


@starts_interpreter
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


def by_kernel(launch: Launch):
    """The kernel as a `SumTiles`."""
    from s2flow_core.reach.triton_tile_sums import tile_sums

    return lambda rows, grid: tile_sums(rows, grid, launch)


@only_where_kernels_run
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)),
    tile=st.sampled_from([(2, 4, 4), (1, 4, 4), (1, 4, 12)]),
    dim=st.sampled_from([64, 128]),
    dtype=st.sampled_from(DTYPES),
    text=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    masked=st.booleans(),
    launch=st.sampled_from(LAUNCHES),
    seed=st.integers(0, 999),
)
@settings(max_examples=8 if ON_A_GPU else 16)
def test_kernel_measures_the_same_reach_and_error(shape, tile, dim, dtype, text, masked, launch, seed):
    torch.manual_seed(seed)
    grid = TokenGrid(shape, tile)
    tokens = sum(text) + grid.tokens
    # Memory order (B, tokens, q k v, heads, dim), as models have it; videos are measured one by one.
    fused = (2 * torch.randn(1, tokens, 3, 2, dim)).to(dtype)
    q, k, v = (x.transpose(1, 2) for x in fused.unbind(2))
    mask = None
    if masked:
        mask = torch.randn(1, tokens).masked_fill(torch.rand(1, tokens) > 0.7, -torch.inf)
        mask[:, text[0]] = 0.0
    rows = sample_query_rows(grid, 21, seed)
    expected = measure_reach(q, k, VideoSequence(grid, *text, key_mask=mask), rows)
    reach_and_error = measure_reach_and_error(q, k, v, VideoSequence(grid, *text, key_mask=mask), rows)
    with pytest.MonkeyPatch.context() as patch:
        for module in (measure, output_error):
            patch.setattr(
                module,
                "choose_tile_sums",
                lambda *_: (by_kernel(launch), Held(grid.tile_count, by_kernel=True)),
            )
        q, k, v = (on_device(x) for x in (q, k, v))
        mask = None if mask is None else on_device(mask)
        measured = measure_reach(q, k, VideoSequence(grid, *text, key_mask=mask), rows).cpu()
        measured_with_error = measure_reach_and_error(
            q, k, v, VideoSequence(grid, *text, key_mask=mask), rows
        )
    assert torch.allclose(measured, expected, atol=MASS_ROUNDING)
    assert torch.allclose(measured_with_error.mass.cpu(), reach_and_error.mass, atol=MASS_ROUNDING)
    rounding, error = ROUNDING[dtype], measured_with_error.error.cpu()
    assert torch.allclose(error, reach_and_error.error, rtol=10 * rounding, atol=rounding)


@only_where_kernels_run
def test_tiles_that_are_hidden_have_no_mass():
    grid = TokenGrid((1, 4, 8), (1, 4, 4))
    bias = torch.zeros(1, 1, grid.tokens, 1)
    bias[:, :, [w >= 4 for _ in range(4) for w in range(8)]] = -torch.inf
    rows = some_rows(grid, dim=64, bias=bias.flatten())
    q, k, values = (on_device(x.to(DTYPES[0])) for x in (rows.q, rows.k, rows.values))
    rows = replace(rows, q=q, k=k, values=values, bias=on_device(bias.flatten()))
    sums = by_kernel(LAUNCHES[0])(rows, grid)
    assert torch.allclose(sums.mass.cpu(), torch.tensor([1.0, 0.0]).expand(1, 3, 2))
    assert (sums.means[:, :, 1] == 0).all()


@only_on_a_gpu
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("shape", [(30, 48, 80), (21, 30, 52)], ids=["whole tiles", "partial tiles"])
def test_the_shipped_launch_measures_a_real_video(shape, dtype, dim, caplog):
    """Chosen and trusted as in a sampling run; torch measures the same numbers in float32."""
    grid = TokenGrid(shape, choose_reach_tile(shape))
    sequence = VideoSequence(grid, suffix=77)
    generator = torch.Generator(DEVICE).manual_seed(0)
    tokens = (1, sequence.tokens, 2, dim)
    q, k, v = (
        torch.randn(tokens, generator=generator, device=DEVICE).to(dtype).transpose(1, 2) for _ in "qkv"
    )
    rows, knots = sample_query_rows(grid, 256, 0), extent_ladder(grid.tiles)
    assert choice.choose_tile_sums(q, grid)[0] is choice.kernel_tile_sums
    with caplog.at_level("INFO"):
        measured = measure_reach_and_error(q, k, v, sequence, rows, knots)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("s2flow")]
    assert not told  # that torch stood in
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            output_error, "choose_tile_sums", lambda *_: (torch_tile_sums, Held(grid.tokens, by_kernel=False))
        )
        expected = measure_reach_and_error(q, k, v, sequence, rows, knots)
    assert torch.allclose(measured.mass, expected.mass, atol=1e-4)
    assert torch.allclose(measured.error, expected.error, rtol=0.1, atol=ROUNDING[dtype])


@needs_triton
def test_what_the_kernel_cannot_measure_is_refused_in_words(monkeypatch):
    from s2flow_core.reach import triton_tile_sums

    monkeypatch.setattr(triton_tile_sums, "architecture_of", lambda device: "sm_90")
    grid = TokenGrid((2, 8, 8), (1, 4, 4))
    half = torch.empty(1, 1, 8, 64, dtype=torch.bfloat16)
    assert triton_tile_sums.refuses(half, grid) is None
    assert "half precision" in str(triton_tile_sums.refuses(half.float(), grid))
    assert "not for 32" in str(triton_tile_sums.refuses(half[..., :32], grid))
    assert "tiles of 4" in str(triton_tile_sums.refuses(half, TokenGrid((2, 8, 8), (1, 2, 2))))
