"""A contact sheet: one row of frames for every video, numbered, to choose from."""

from __future__ import annotations

import numpy
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .latent.resample import resize_video

_GAP = 8  # pixels between frames
_PAPER = 0.12  # grey between frames, dark so that it does not outshine them


def contact_sheet(clips: list[Tensor], columns: int = 4, frame_height: int = 192) -> Tensor:
    """clips: (T, H, W, 3) each, in 0..1 -> (height, width, 3).

    Every row shows `columns` frames of one clip, first and last included, with the clip's number from 1.
    Raises ValueError if there is no clip or no column.
    """
    if not clips or columns < 1:
        raise ValueError(f"A contact sheet needs a video and a column; got {len(clips)} and {columns}.")
    rows: list[Tensor] = []
    for number, clip in enumerate(clips, start=1):
        _, height, width, _ = clip.shape
        frames = resize_video(
            spread_frames(clip, columns), (frame_height, max(1, round(width * frame_height / height)))
        )
        padded = torch.nn.functional.pad(frames, (0, 0, _GAP, 0, _GAP, 0), value=_PAPER)
        rows.append(numbered(torch.cat(list(padded), dim=1), number))  # (height, width, 3)
    widest = max(row.shape[1] for row in rows)
    rows = [torch.nn.functional.pad(row, (0, 0, 0, widest - row.shape[1]), value=_PAPER) for row in rows]
    return torch.nn.functional.pad(torch.cat(rows), (0, 0, 0, _GAP, 0, _GAP), value=_PAPER)


def spread_frames(clip: Tensor, count: int) -> Tensor:
    """At most `count` frames of a clip (T, H, W, 3), evenly spread, first and last included."""
    return clip[torch.linspace(0, len(clip) - 1, min(count, len(clip))).round().long()]


def numbered(row: Tensor, number: int) -> Tensor:
    """row: (height, width, 3), with a white number on a dark square in its corner."""
    picture = Image.fromarray((row * 255).round().to(torch.uint8).numpy())
    draw = ImageDraw.Draw(picture)
    side = max(16, row.shape[0] // 6)
    draw.rectangle((_GAP, _GAP, _GAP + side, _GAP + side), fill=(20, 20, 20))
    middle = _GAP + side / 2
    font = ImageFont.load_default(size=side * 0.8)
    draw.text((middle, middle), str(number), fill=(255, 255, 255), font=font, anchor="mm")
    return torch.as_tensor(numpy.array(picture)).float() / 255
