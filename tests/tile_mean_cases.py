"""Calls with a tail, and what the means of their tiles must be."""

from __future__ import annotations

import naive_attention as naive
import torch

from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.tile_means import WriteMeans
from s2flow_core.windows.grid import TokenGrid

TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def a_call(
    grid: TokenGrid, prefix: int, bias: torch.Tensor | None, dim: int, dtype: torch.dtype
) -> AttentionCall:
    """Two videos of two heads, tokens before heads in memory."""
    generator = torch.Generator().manual_seed(0)
    fused = torch.randn(2, prefix + grid.tokens, 3, 2, dim, generator=generator).to(dtype)
    q, k, v = (x.transpose(1, 2) for x in fused.unbind(2))
    return AttentionCall(q, k, v, grid, ((1, 1, 1),) * 2, prefix, 0, bias, 0.5, True)


def random_bias(tokens: int, seed: int) -> torch.Tensor:
    """(2, tokens), weights and hidden keys."""
    generator = torch.Generator().manual_seed(seed)
    bias = 3 * torch.randn(2, tokens, generator=generator)
    return bias.masked_fill(torch.rand(bias.shape, generator=generator) > 0.6, -torch.inf)


def assert_means(call: AttentionCall, write_means: WriteMeans) -> None:
    grid, dtype = call.grid, call.q.dtype
    shape = (*call.q.shape[:2], grid.tile_count, call.q.shape[3])
    # As in the buffer of extra keys, where text stands before the tiles.
    keys, values = (
        torch.full((2, 2, 3 + shape[2], shape[3]), torch.nan, dtype=dtype)[:, :, 3:] for _ in "kv"
    )
    log_weight = write_means(call, keys, values).expand(2, -1)
    weight = torch.ones(2, grid.tokens) if call.key_bias is None else call.key_bias[:, call.video].exp()
    tile_of = naive.tile_of_token(grid.shape, grid.tile)
    for tile in range(grid.tile_count):
        own = weight * (tile_of == tile)  # (B, tokens)
        torch.testing.assert_close(log_weight[:, tile], own.sum(dim=1).log(), atol=1e-5, rtol=1e-5)
        share = (own / own.sum(dim=1, keepdim=True)).nan_to_num(0.0)
        for means, x in ((keys, call.k), (values, call.v)):
            expected = torch.einsum("bn,bmnd->bmd", share, x[:, :, call.video].float())
            allowed = TOLERANCE[dtype]
            torch.testing.assert_close(means[:, :, tile].float(), expected, atol=allowed, rtol=allowed)
