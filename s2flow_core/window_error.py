"""What a window costs in output, not in attention: the error its missing keys leave in a head's result.

Coverage is only a proxy. A head may lose much attention mass on keys whose values are all alike and change
nothing, or lose little on keys that matter. The same sampled rows can tell: they know P·V inside and outside
of every box.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import TokenGrid
from .key_mask import key_bias
from .reach import pieces, sum_in_boxes

_PROJECTED = 8
_PROJECTION_SEED = 0
# sum_in_boxes keeps this many numbers per row and tile: the projected values and the mass.
_CHANNELS = _PROJECTED + 1
_TINY = 1e-30


def measure_window_error(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: TokenGrid,
    rows: Tensor,
    prefix: int = 0,
    suffix: int = 0,
    key_mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """(heads, nT, nH, nW) float32: squared output error of every window, in units of the layer's output.

    Arguments as in `measure_reach`; the text takes part, as it does in the windowed attention. The error of
    a head is mean ‖windowed output - full output‖² over batch and rows, divided by the mean ‖full output‖²
    of the layer's heads: so heads of one layer add up, and layers can be compared. The norms are estimated
    from 8 random Gaussian projections of the values (Johnson-Lindenstrauss), equal in every call.
    """
    batch, heads, tokens, dim = q.shape
    if prefix + grid.tokens + suffix != tokens:
        raise ValueError(f"{tokens} tokens are not {prefix} + {grid.tokens} + {suffix}.")
    video = slice(prefix, prefix + grid.tokens)
    bias = key_bias(key_mask, batch, tokens)
    factor = dim**-0.5 if scale is None else scale
    rows = rows.to(q.device)
    projection = _projection(v.shape[-1]).to(q.device)
    error = torch.zeros(heads, *grid.tiles, device=q.device)
    energy = torch.zeros((), device=q.device)
    for item, some_heads, some_rows in pieces(q, len(rows), tokens * _CHANNELS):
        asked = rows[some_rows]
        queries = q[item, some_heads, video][:, asked].float() * factor  # (heads, rows, dim)
        logits = queries @ k[item, some_heads].float().transpose(1, 2)  # (heads, rows, all tokens)
        if bias is not None:
            logits += bias[item]
        weights = logits.softmax(dim=-1)
        values = v[item, some_heads].float() @ projection  # (heads, all tokens, 8)
        values = torch.cat([values, torch.ones_like(values[..., :1])], dim=-1)  # the last channel counts mass
        per_tile = _per_tile(weights[..., video], values[:, video], grid)  # (heads, rows, tiles, 9)
        text = weights[..., :prefix] @ values[:, :prefix]  # (heads, rows, 9), seen by every window
        text = text + weights[..., video.stop :] @ values[:, video.stop :]
        full = (text + per_tile.sum(dim=2))[..., :_PROJECTED]
        inside = text[:, :, None, None, None] + sum_in_boxes(per_tile, grid, asked)
        # (heads, rows, nT, nH, nW, 8)
        windowed = inside[..., :_PROJECTED] / inside[..., _PROJECTED:].clamp_min(_TINY)
        error[some_heads] += (windowed - full[:, :, None, None, None]).square().sum(-1).sum(dim=1)
        energy += full.square().sum()
    return error * heads / energy.clamp_min(_TINY)


def _per_tile(weights: Tensor, values: Tensor, grid: TokenGrid) -> Tensor:
    """P·V of each key tile, (heads, rows, tiles, d), from weights (heads, rows, tokens) and values
    (heads, tokens, d).
    """
    size = (grid.tile_count, grid.tile_tokens)
    weights = grid.to_tiles(weights[..., None])[..., 0].unflatten(2, size)  # (heads, rows, tiles, slots)
    values = grid.to_tiles(values[None])[0].unflatten(1, size)  # (heads, tiles, slots, d)
    return torch.einsum("mrns,mnsd->mrnd", weights, values)


def _projection(dim: int) -> Tensor:
    """(dim, 8) float32 random matrix that keeps squared norms in the mean."""
    generator = torch.Generator().manual_seed(_PROJECTION_SEED)
    return torch.randn(dim, _PROJECTED, generator=generator) / _PROJECTED**0.5
