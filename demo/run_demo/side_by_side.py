"""Puts the preview, enlarged, beside the high-resolution video."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .video_files import read_facts, read_frames, write_frames

GAP = 4
INK, PAPER = (235, 235, 235), (24, 24, 24)


def write_side_by_side(preview: Path, result: Path, target: Path) -> None:
    """Both videos at the height of `result`, each with its size above; the shorter holds its last frame."""
    small, large = read_facts(preview), read_facts(result)
    width = even(small.width * large.height / small.height)
    band = even(max(20, large.height / 14))
    # Plain letters only: Pillow's own font has neither × nor ².
    labels = (
        (GAP, f"preview {small.width}x{small.height}, enlarged"),
        (width + 2 * GAP, f"high resolution {large.width}x{large.height}"),
    )
    sheet = Image.new("RGB", (even(width + GAP + large.width), band + large.height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for x, label in labels:
        room = (width if x == GAP else large.width) - GAP
        pen.text((x, band / 2), label, fill=INK, anchor="lm", font=fitting_font(label, band, room))

    def pages() -> Iterator[Image.Image]:
        left = right = None
        for next_left, next_right in zip_longest(read_frames(preview), read_frames(result)):
            left = left if next_left is None else next_left
            right = right if next_right is None else next_right
            if left is None or right is None:
                raise ValueError(f"{preview if left is None else result} holds no frames.")
            page = sheet.copy()
            page.paste(left.resize((width, large.height), Image.Resampling.BICUBIC), (0, band))
            page.paste(right, (width + GAP, band))
            yield page

    write_frames(target, pages(), large.rate)


def even(length: float) -> int:
    """The next even number of pixels, because H.264 stores colour at half the size."""
    return 2 * -(-round(length) // 2)


def fitting_font(text: str, band: int, room: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest letters that leave some air in the band and do not run out of it."""
    size = 0.6 * band
    font = ImageFont.load_default(size)
    width = font.getlength(text)
    return font if width <= room else ImageFont.load_default(max(6.0, size * room / width))
