"""The means of all tiles in one Triton launch over all heads, beside `triton_windows`."""

from __future__ import annotations

import torch
from torch import Tensor

from ...kernels.launch_table import MEANS_LAUNCH, Launch
from ...kernels.tile_means_kernel import tile_means_programs
from ..call import AttentionCall
from ..tile_means import log_sizes


def kernel_tile_means(
    call: AttentionCall, keys: Tensor, values: Tensor, launch: Launch = MEANS_LAUNCH
) -> Tensor:
    """`WriteMeans` for heads of 64 or 128 channels whose numbers are adjacent, on the call's GPU."""
    grid = call.grid
    batch, heads, _, dim = call.q.shape
    k, v = (x[:, :, call.video] for x in (call.k, call.v))
    bias, log_weight = None, None
    if call.key_bias is not None:
        bias = call.key_bias[:, call.video].contiguous()
        log_weight = torch.empty(batch, grid.tile_count, device=call.q.device)
    block = launch.for_keys(grid.tile_tokens).block_n
    with torch.cuda.device_of(k):
        tile_means_programs((grid.tile_count, heads, batch))(
            *(k, v, bias, keys, values, log_weight),
            *k.stride()[:3],
            *v.stride()[:3],
            *keys.stride()[:2],
            0 if bias is None else bias.stride(0),
            0 if log_weight is None else log_weight.stride(0),
            heads,
            *grid.shape,
            *grid.tiles[1:],
            TILE_T=grid.tile[0],
            TILE_H=grid.tile[1],
            TILE_W=grid.tile[2],
            DIM=dim,
            BLOCK_N=block,
            BIASED=bias is not None,
            num_warps=launch.warps,
            num_stages=launch.stages,
        )
    return log_sizes(grid, call.q.device) if log_weight is None else log_weight
