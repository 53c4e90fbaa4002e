"""A video file from frames, by PyAV, in the folders that ComfyUI shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import folder_paths
from torch import Tensor

# Constant rate factor of H.264: higher is smaller and coarser; 17 shows no loss to the eye.
QUALITY = "17"


@dataclass(frozen=True)
class Place:
    """A file that does not exist yet. subfolder: below ComfyUI's output or temporary folder."""

    folder: Path
    subfolder: str
    name: str

    @property
    def path(self) -> Path:
        return self.folder / self.name


def next_mp4(prefix: str, keep: bool) -> Place:
    """The next free name: in the output folder, or in the temporary one that ComfyUI empties."""
    root = folder_paths.get_output_directory() if keep else folder_paths.get_temp_directory()
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root)
    return Place(Path(folder), subfolder, f"{name}_{counter:05}_.mp4")


def write_mp4(path: Path, frames: Iterable[Tensor], rate: float) -> tuple[int, int, int]:
    """Writes frames (H, W, 3) in [0, 1] as H.264; returns (width, height, frames).

    rate: frames a second. Odd sides lose their last row or column, which H.264 cannot hold.
    """
    try:
        return _written(path, frames, rate)
    except BaseException:  # also a cancel, which would leave a broken file behind
        path.unlink(missing_ok=True)
        raise


def _written(path: Path, frames: Iterable[Tensor], rate: float) -> tuple[int, int, int]:
    count, width, height = 0, 0, 0
    with av.open(str(path), mode="w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": QUALITY}
        for frame in frames:
            if not count:
                height, width = (side - side % 2 for side in frame.shape[:2])
                stream.width, stream.height = width, height
            pixels = (frame[:height, :width] * 255).round().byte().cpu().contiguous().numpy()
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            count += 1
        file.mux(stream.encode())
    return width, height, count
