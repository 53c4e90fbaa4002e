"""The reach kernel measures what torch measures; it runs in Triton's interpreter here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_interpreter import IN_INTERPRETER, needs_triton, only_in_interpreter, pass_in_interpreter

from s2flow_core import reach as reach_module
from s2flow_core import tile_mass as tile_mass_module
from s2flow_core.grid import TokenGrid
from s2flow_core.kernels.launch_table import Launch
from s2flow_core.reach import measure_reach, sample_query_rows
from s2flow_core.tile_mass import choose_tile_mass, torch_tile_mass

LAUNCHES = (Launch(16, 16, 4, 1), Launch(32, 64, 4, 1))


@pytest.mark.skipif(IN_INTERPRETER, reason="this is the process that it starts")
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


def by_kernel(launch: Launch):
    """The kernel as a `TileMass`."""
    from s2flow_core.backends.triton_reach import tile_mass

    return lambda q, k, bias, grid, scale: tile_mass(q, k, bias, grid, scale, launch)


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
def test_kernel_measures_the_same_reach(shape, tile, dim, dtype, text, masked, launch, seed):
    torch.manual_seed(seed)
    grid = TokenGrid(shape, tile)
    tokens = sum(text) + grid.tokens
    # Memory order (B, tokens, q k v, heads, dim), as models have it.
    fused = (2 * torch.randn(2, tokens, 3, 2, dim)).to(dtype)
    q, k, _ = (x.transpose(1, 2) for x in fused.unbind(2))
    mask = None
    if masked:
        mask = torch.randn(2, tokens).masked_fill(torch.rand(2, tokens) > 0.7, -torch.inf)
        mask[:, text[0]] = 0.0
    rows = sample_query_rows(grid, 21, seed)
    expected = measure_reach(q, k, grid, rows, *text, key_mask=mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach_module, "choose_tile_mass", lambda *_: (by_kernel(launch), grid.tile_count))
        measured = measure_reach(q, k, grid, rows, *text, key_mask=mask)
    assert torch.allclose(measured, expected, atol=1e-5)


@only_in_interpreter
def test_tiles_that_are_hidden_have_no_mass():
    grid = TokenGrid((1, 4, 8), (1, 4, 4))
    q, k = torch.randn(1, 3, 64), torch.randn(1, grid.tokens, 64)
    bias = torch.zeros(1, 1, grid.tokens, 1)
    bias[:, :, [w >= 4 for _ in range(4) for w in range(8)]] = -torch.inf
    mass = by_kernel(LAUNCHES[0])(q, k, bias.flatten(), grid, 0.125)
    assert torch.allclose(mass, torch.tensor([1.0, 0.0]).expand(1, 3, 2))


def test_the_torch_path_is_taken_where_there_is_no_gpu():
    grid = TokenGrid((2, 8, 8), (1, 4, 4))
    assert choose_tile_mass(torch.empty(1, 1, 64, 64), grid) == (torch_tile_mass, grid.tokens)


def test_a_kernel_that_fails_is_replaced_by_torch_with_one_reason(monkeypatch, caplog):
    class Broken:
        @staticmethod
        def tile_mass(*_):
            raise RuntimeError("no such kernel")

    monkeypatch.setattr(tile_mass_module, "import_module", lambda *_: Broken)
    monkeypatch.setattr(tile_mass_module, "_fallbacks", set())
    caplog.set_level("INFO")
    grid = TokenGrid((2, 4, 4), (1, 4, 4))
    q, k = torch.randn(2, 3, 8), torch.randn(2, grid.tokens, 8)
    for _ in range(2):
        mass = tile_mass_module.kernel_tile_mass(q, k, None, grid, 0.3)
        assert torch.allclose(mass, torch_tile_mass(q, k, None, grid, 0.3))
    assert caplog.text.count("no such kernel") == 1


@needs_triton
def test_what_the_kernel_cannot_measure_is_refused_in_words(monkeypatch):
    from s2flow_core.backends import triton_reach

    monkeypatch.setattr(triton_reach, "architecture_of", lambda device: "sm_90")
    grid = TokenGrid((2, 8, 8), (1, 4, 4))
    half = torch.empty(1, 1, 8, 64, dtype=torch.bfloat16)
    assert triton_reach.refuses(half, grid) is None
    assert "half precision" in str(triton_reach.refuses(half.float(), grid))
    assert "not for 32" in str(triton_reach.refuses(half[..., :32], grid))
    assert "tiles of 4" in str(triton_reach.refuses(half, TokenGrid((2, 8, 8), (1, 2, 2))))
