"""Fine detail of a video: what the small video could not show."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ..settings import SCALE


def smaller(video: Tensor, times: int = int(SCALE)) -> Tensor:
    """(frames, H, W, 3) -> (frames, H/times, W/times, 3), means of pixels."""
    return avg_pool2d(video.movedim(-1, 1), times).movedim(1, -1)


def enlarged(video: Tensor, times: int = int(SCALE)) -> Tensor:
    """(frames, h, w, 3) -> (frames, times h, times w, 3), bicubic: plain upscaling."""
    frames = interpolate(video.movedim(-1, 1), scale_factor=float(times), mode="bicubic", antialias=True)
    return frames.movedim(1, -1).clamp(0, 1)


def detail_energy(video: Tensor, times: int = int(SCALE)) -> float:
    """Mean square of what a video so many times smaller could not show."""
    return float((video - enlarged(smaller(video, times), times)).square().mean())
