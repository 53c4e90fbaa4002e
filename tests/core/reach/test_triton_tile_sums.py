"""The reach kernel measures what torch measures; it runs in Triton's interpreter here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from query_rows import some_rows
from triton_interpreter import IN_INTERPRETER, needs_triton, only_in_interpreter, pass_in_interpreter

from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.kernels.launch_table import Launch
from s2flow_core.reach import measure, output_error
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.reach.rows import sample_query_rows
from s2flow_core.windows.grid import TokenGrid

LAUNCHES = (Launch(16, 16, 4, 1), Launch(32, 64, 4, 1))


@pytest.mark.skipif(IN_INTERPRETER, reason="this is the process that it starts")
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


def by_kernel(launch: Launch):
    """The kernel as a `SumTiles`."""
    from s2flow_core.reach.triton_tile_sums import tile_sums

    return lambda rows, grid: tile_sums(rows, grid, launch)


@only_in_interpreter
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9)),
    tile=st.sampled_from([(2, 4, 4), (1, 4, 4), (1, 4, 12)]),
    dim=st.sampled_from([64, 128]),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    text=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    masked=st.booleans(),
    launch=st.sampled_from(LAUNCHES),
    seed=st.integers(0, 999),
)
@settings(max_examples=16)
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
            patch.setattr(module, "choose_tile_sums", lambda *_: (by_kernel(launch), grid.tile_count))
        measured = measure_reach(q, k, VideoSequence(grid, *text, key_mask=mask), rows)
        measured_with_error = measure_reach_and_error(
            q, k, v, VideoSequence(grid, *text, key_mask=mask), rows
        )
    assert torch.allclose(measured, expected, atol=1e-5)
    assert torch.allclose(measured_with_error.mass, reach_and_error.mass, atol=1e-5)
    # The kernel weighs the values in the model's precision.
    rounding = 1e-5 if dtype == torch.float32 else 5e-3
    assert torch.allclose(measured_with_error.error, reach_and_error.error, rtol=10 * rounding, atol=rounding)


@only_in_interpreter
def test_tiles_that_are_hidden_have_no_mass():
    grid = TokenGrid((1, 4, 8), (1, 4, 4))
    bias = torch.zeros(1, 1, grid.tokens, 1)
    bias[:, :, [w >= 4 for _ in range(4) for w in range(8)]] = -torch.inf
    rows = some_rows(grid, dim=64, bias=bias.flatten())
    sums = by_kernel(LAUNCHES[0])(rows, grid)
    assert torch.allclose(sums.mass, torch.tensor([1.0, 0.0]).expand(1, 3, 2))
    assert (sums.means[:, :, 1] == 0).all()


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
