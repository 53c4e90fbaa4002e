"""Other ways to compute the same attention, where they can run: torch's kernels and installed packages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.common.exact_attention import Inputs
from s2flow_core.attention.window_attention import count_visited_keys
from s2flow_core.windows.extents import axis_covers
from s2flow_core.windows.grid import TokenGrid

_DENSE = {
    "cuda": {
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
    },
    "cpu": {"flash": SDPBackend.FLASH_ATTENTION},
}
"""`math` is left out: it holds all logits, 26 GB per head at 115,200 tokens."""

_FLEX_BLOCK = 128
_TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 1e-2}
_EIGHT_BITS_TOLERANCE = 2e-2
_SOL_RATIOS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Rival:
    """run() -> (B, heads, tokens, dim). density: the share of all keys it visits. windows: those of the
    comparison, so that its result must equal ours; otherwise it selects keys in its own way. eight_bits: it
    rounds queries and keys to that.
    """

    name: str
    run: Callable[[], Tensor]
    density: float = 1.0
    windows: bool = False
    eight_bits: bool = False

    def most_error(self, dtype: torch.dtype) -> float:
        """What its result may differ by, of its norm, on random numbers."""
        return _EIGHT_BITS_TOLERANCE if self.eight_bits else _TOLERANCE[dtype]


def dense_rivals(inputs: Inputs) -> list[Rival]:
    """torch's scaled_dot_product_attention by every backend of the device, and sageattention."""
    q, k, v = inputs.q, inputs.k, inputs.v

    def sdpa(backend: SDPBackend) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with sdpa_kernel([backend]):
                return F.scaled_dot_product_attention(q, k, v)

        return run

    rivals = [Rival(f"sdpa {name}", sdpa(backend)) for name, backend in _DENSE[q.device.type].items()]
    sage = importable("sageattention")
    if sage is not None and q.device.type == "cuda":
        rivals.append(Rival("sageattention", lambda: sage.sageattn(q, k, v, tensor_layout="HND")))
    return rivals


def sparse_rivals(inputs: Inputs) -> list[Rival]:
    """comfy_kitchen's sol_attn, which selects keys in its own way, and its neighbourhood attention."""
    kitchen = importable("comfy_kitchen")
    if kitchen is None or inputs.q.device.type != "cuda":
        return []
    q, k, v = (
        x.transpose(1, 2).contiguous() for x in (inputs.q, inputs.k, inputs.v)
    )  # (B, tokens, heads, dim)

    def sol(ratio: float) -> Callable[[], Tensor]:
        return lambda: kitchen.sol_attn(q, k, v, topk_ratio=ratio).transpose(1, 2)

    def neighbourhood(share: float) -> Callable[[], Tensor]:
        video = [x.unflatten(1, inputs.grid.shape) for x in (q, k, v)]
        size = [max(1, round(side * share ** (1 / 3))) for side in inputs.grid.shape]
        return lambda: kitchen.na3d(*video, size).flatten(1, 3).transpose(1, 2)

    rivals = []
    for ratio in _SOL_RATIOS:
        if hasattr(kitchen, "sol_attn"):
            rivals.append(Rival("comfy_kitchen sol_attn", sol(ratio), ratio))
        if hasattr(kitchen, "na3d"):
            rivals.append(Rival("comfy_kitchen na3d", neighbourhood(ratio), ratio))
    return rivals


def flex_rival(inputs: Inputs, extents: Tensor) -> Rival:
    """FlexAttention with the same windows; tile order in and out is part of its time, as it is of ours.

    Raises ValueError for tiles other than its 128 tokens.
    """
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    grid = inputs.grid
    if grid.tile_tokens != _FLEX_BLOCK or not grid.divides:
        raise ValueError(f"FlexAttention needs full tiles of {_FLEX_BLOCK} tokens")
    tiles = box_table(grid, extents).to(inputs.q.device)  # (heads, query tiles, key tiles)
    count = tiles.sum(-1, dtype=torch.int32)[None]
    indices = tiles.to(torch.int8).argsort(dim=-1, descending=True, stable=True).int()[None]
    mask = BlockMask.from_kv_blocks(torch.zeros_like(count), indices, count, indices, BLOCK_SIZE=_FLEX_BLOCK)
    compiled: Any = torch.compile(flex_attention)

    def run() -> Tensor:
        q, k, v = (grid.to_tiles(x) for x in (inputs.q, inputs.k, inputs.v))
        return grid.from_tiles(compiled(q, k, v, block_mask=mask))

    density = count_visited_keys(grid, extents).double().mean().item() / grid.tokens**2
    return Rival("FlexAttention", run, density, windows=True)


def box_table(grid: TokenGrid, extents: Tensor) -> Tensor:
    """(heads, query tiles, key tiles) bool: which tiles each query tile sees."""
    tables = []
    for extent in extents.tolist():
        t, h, w = (axis_covers(count)[side - 1] for count, side in zip(grid.tiles, extent))
        box = t[:, None, None, :, None, None] & h[:, None, None, :, None] & w[:, None, None, :]
        tables.append(box.reshape(grid.tile_count, grid.tile_count))
    return torch.stack(tables)


def importable(package: str):
    """The package, or None where it is not installed or cannot run."""
    try:
        return import_module(package)
    except Exception:  # a package for another GPU raises anything
        return None
