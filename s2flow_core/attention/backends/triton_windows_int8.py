"""Windowed attention with queries and keys in eight bits, for NVIDIA GPUs whose tensor cores gain by it.

Text and tail keep the model's precision, and so do the values. What this loses is about what SageAttention
loses: a hundredth of the output on random numbers, less on a model's own.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...kernels.architecture import architecture_of
from ...kernels.int8_kernel import int8_keys_programs
from ...kernels.launch_table import Launch, int8_launch
from ..call import AttentionCall, attend_text
from ..extra_keys import video_bias
from . import triton_windows
from .triton_windows import Int8Keys, WindowLaunch, asked_of, count_visited, start

_MOST_OF_Q = 0.03
"""Keys in eight bits take this share of q's memory at most, so they are made for a few heads at a time ..."""

_ALWAYS_BYTES = 2**26
"""... unless they are small."""


def refuses(call: AttentionCall) -> str | None:
    """Why the kernel cannot compute this call, as a sentence; None if it can."""
    architecture = architecture_of(call.q.device)
    if int8_launch(architecture, call.q.shape[3]) is None:
        return f"it knows NVIDIA's Ampere, Ada, Hopper and RTX Blackwell, and this is {architecture}."
    return triton_windows.refuses(call)


def run(call: AttentionCall, launch: Launch | None = None) -> Tensor:
    """(B, heads, tokens, dim) of windowed attention in q's dtype, for a call that `refuses` lets pass.

    launch: replaces the shipped configuration. Raises ValueError if there is none for q's device and head
    size.
    """
    partial = video_bias(call) is not None or not call.grid.divides
    launch = launch or int8_launch(architecture_of(call.q.device), call.q.shape[3], partial)
    if launch is None:
        raise ValueError(f"The int8 attention kernel has no launch configuration for {call.q.device}.")
    out = call.output()
    work, means = asked_of(call, out, launch), key_means(call.k[:, :, call.video])
    at_once = heads_at_once(call)
    for first in range(0, len(work.windows), at_once):
        some = replace(work, windows=work.windows[first : first + at_once])
        start(replace(some, int8_keys=int8_keys(some, means, launch)), launch)
    attend_text(call, out)
    count_visited(call)
    return out


def key_means(k: Tensor) -> Tensor:
    """(B, heads, tokens, dim) -> (B, heads, dim) float32: the mean key; 0 where the sum is too large for a
    number, because any vector may be taken off."""
    return k.mean(dim=2, dtype=torch.float32).nan_to_num(0.0, 0.0, 0.0)


def heads_at_once(call: AttentionCall) -> int:
    """Heads whose keys are held in eight bits at a time."""
    one_head = call.q.shape[0] * call.grid.tile_count * call.grid.tile_tokens * call.q.shape[3]
    room = max(_ALWAYS_BYTES, _MOST_OF_Q * call.q.numel() * call.q.element_size())
    return max(1, int(room // one_head))


def int8_keys(work: WindowLaunch, means: Tensor, launch: Launch) -> Int8Keys:
    """The keys of the heads in `work.windows`, in the blocks that `launch` reads; means: (B, heads, dim)."""
    grid, block_n = work.grid, launch.for_tile(work.grid.tile_tokens).block_n
    batch, heads, _, dim = work.k.shape
    slots, ranks = grid.tile_count * grid.tile_tokens, len(work.windows)
    k = torch.empty(batch, ranks, slots, dim, dtype=torch.int8, device=work.k.device)
    scales = torch.empty(batch, ranks, slots // block_n, device=work.k.device)
    with torch.cuda.device_of(work.k):
        int8_keys_programs((slots // block_n, batch, ranks))(
            *(work.k, means.contiguous(), work.windows, k, scales),
            *work.k.stride()[:3],
            heads,
            *grid.shape,
            *grid.tiles[1:],
            TILE_T=grid.tile[0],
            TILE_H=grid.tile[1],
            TILE_W=grid.tile[2],
            DIM=dim,
            BLOCK_N=block_n,
        )
    return Int8Keys(k, scales, means)
