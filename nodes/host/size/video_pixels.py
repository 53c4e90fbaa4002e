"""A video VAE at work for one node: whole where that fits, else in smaller tiles; cancelled between tiles."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

log = logging.getLogger(__name__)

# Pixels per side of a tile, tried in this order after the whole picture; neighbours share a quarter of it.
TILES = (256, 128, 64)
SIZE_STEP = 16  # pixels, of the sizes that are named to the artist


class VideoPixels:
    """Decodes and encodes single videos. What once ran out of memory is not tried again by the same node.

    Raises MemoryError, with a size that would have fitted, where even the smallest tiles do not fit.
    """

    def __init__(self, vae: Any):
        self.vae = vae
        self.whole, self.in_tiles = whole_only(vae), stoppable(vae)
        self.tile: dict[str, int | None] = {"decoding": None, "encoding": None}  # None: the whole picture

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """(1, C, T, h, w) -> (1, frames, height, width, 3) in 0..1.

        Core joins tiles in place, which it may only as it runs nodes: outside of autograd.
        """
        ratio = self.vae.spacial_compression_decode()

        def needed(height: int, width: int) -> float:
            shape = (*latent.shape[:3], height // ratio, width // ratio)
            return self.vae.memory_used_decode(shape, self.vae.vae_dtype)

        def run(tile: int | None) -> Tensor:
            if tile is None:
                return self.whole.decode(latent)
            side, shared = max(1, tile // ratio), max(1, tile // ratio // 4)
            return self.in_tiles.decode_tiled(latent, tile_x=side, tile_y=side, overlap=shared)

        size = (latent.shape[-2] * ratio, latent.shape[-1] * ratio)
        return self.stepping_down("decoding", size, needed, run)

    def encode(self, frames: Tensor) -> Tensor:
        """(frames, height, width, 3) -> (1, C, T, h, w)."""

        def needed(height: int, width: int) -> float:
            return self.vae.memory_used_encode((1, 3, len(frames), height, width), self.vae.vae_dtype)

        def run(tile: int | None) -> Tensor:
            if tile is None:
                return self.whole.encode(frames)
            return self.in_tiles.encode_tiled(frames, tile_x=tile, tile_y=tile, overlap=tile // 4)

        return self.stepping_down("encoding", (frames.shape[1], frames.shape[2]), needed, run)

    def stepping_down(
        self,
        doing: str,
        size: tuple[int, int],
        needed: Callable[[int, int], float],
        run: Callable[[int | None], Tensor],
    ) -> Tensor:
        """The result of the first pass that fits; size: (height, width) in pixels."""
        if self.tile[doing] is None:
            self.start_in_tiles_beyond_the_device(doing, size, needed)
        while True:
            comfy.model_management.throw_exception_if_processing_interrupted()
            try:
                return run(self.tile[doing])
            except Exception as problem:
                if not ran_out_of_memory(problem):
                    raise
            # Not inside the handler, where the problem still holds the failed pass's tensors.
            comfy.model_management.soft_empty_cache()
            self.step_down(doing, size, needed)

    def start_in_tiles_beyond_the_device(
        self, doing: str, size: tuple[int, int], needed: Callable[[int, int], float]
    ) -> None:
        """Begins with tiles if the whole could not fit even with everything else unloaded.

        Between that and running out, core unloads models; on a CPU nothing does, the system ends the process.
        """
        total = comfy.model_management.get_total_memory(self.vae.device)
        smaller = next(iter(tiles_below(max(size))), None)
        if smaller is not None and needed(*size) > total:
            self.tile[doing] = smaller
            why = f"it needs {needed(*size) / 2**30:.1f} of {total / 2**30:.1f} GiB"
            log.info("S²Flow: VAE %s in tiles, %s; %s", doing, why, cost_of(smaller, size))

    def step_down(self, doing: str, size: tuple[int, int], needed: Callable[[int, int], float]) -> None:
        """The next smaller tile; raises MemoryError after the last."""
        failed = self.tile[doing]
        left = tiles_below(max(size) if failed is None else failed)
        if not left:
            tried = "" if failed is None else f", in tiles of {failed} pixels too"
            raise MemoryError(refusal(f"{doing} of {{}} pixels{tried}", size, needed, self.vae.device))
        self.tile[doing] = left[0]
        log.warning(
            "S²Flow: VAE %s ran out of memory with %s; it goes on in tiles of %d pixels, %s",
            doing,
            "the whole picture" if failed is None else f"tiles of {failed} pixels",
            left[0],
            cost_of(left[0], size),
        )


class StoppableNetwork:
    """A VAE's network that looks, before each tile, whether the artist has cancelled."""

    def __init__(self, network: Any):
        self.network = network

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.network, name)
        if name not in ("decode", "encode", "decode_tiled", "encode_tiled"):
            return found

        def checked(*given: Any, **named: Any) -> Any:
            comfy.model_management.throw_exception_if_processing_interrupted()
            return found(*given, **named)

        return checked


class WholePassFailed(Exception):
    """Core would go on in tiles of its own choice, without a word of what that costs."""


def stoppable(vae: Any) -> Any:
    """The same VAE, cancelled between tiles; the one in the graph is not touched."""
    prepared = copy.copy(vae)
    prepared.first_stage_model = StoppableNetwork(vae.first_stage_model)
    return prepared


def whole_only(vae: Any) -> Any:
    """The same VAE without core's own way into tiles."""
    prepared = stoppable(vae)

    def refuse(*given: Any, **named: Any) -> Tensor:
        raise WholePassFailed

    prepared.decode_tiled_3d = prepared.encode_tiled_3d = refuse
    return prepared


def ran_out_of_memory(problem: Exception) -> bool:
    """Whether an exception says that memory is out, on any device."""
    if isinstance(problem, (torch.cuda.OutOfMemoryError, MemoryError, WholePassFailed)):
        return True
    words = str(problem).lower()
    return isinstance(problem, RuntimeError) and (
        "out of memory" in words or "can't allocate memory" in words  # the latter on the CPU
    )


def tiles_below(side: int) -> list[int]:
    """The tiles that are smaller than a side in pixels, the largest first."""
    return [tile for tile in TILES if tile < side]


def cost_of(tile: int, size: tuple[int, int]) -> str:
    """What tiles cost, in words; size: (height, width) in pixels."""
    step = tile - tile // 4
    counts = [max(1, -(-(side - tile // 4) // step)) for side in size]
    work = counts[0] * counts[1] * tile**2 / (size[0] * size[1])
    return f"{counts[0] * counts[1]} of them, about {max(work, 1):.1f} times the work and maybe slight seams"


def refusal(
    doing: str, size: tuple[int, int], needed: Callable[[int, int], float], device: torch.device
) -> str:
    """What is said when nothing fits; it names a size that would.

    doing: what was tried, with a place for the size.
    """
    free = comfy.model_management.get_free_memory(device)
    fitting = fitting_size(size, needed, free)
    advice = (
        f"About {fitting[1]}×{fitting[0]} would fit: choose a smaller scale"
        if fitting is not None
        else "Not even a small picture of so many frames would fit: choose fewer frames"
    )
    tried = doing.format(f"{size[1]}×{size[0]}")
    left = f"{free / 2**30:.2f} GiB free"
    return f"VAE {tried} ran out of memory, with {left}. {advice}, or free memory on {device}."


def fitting_size(
    size: tuple[int, int], needed: Callable[[int, int], float], free: float
) -> tuple[int, int] | None:
    """The largest (height, width) below `size`, in its proportions, that fits whole; None if none does."""
    for percent in range(95, 0, -5):
        height, width = (max(side * percent // 100 // SIZE_STEP * SIZE_STEP, SIZE_STEP) for side in size)
        if needed(height, width) <= free:
            return height, width
    return None
