"""The pictures that artists see first: what stands where, and what the workflows are asked for."""

from __future__ import annotations

from fractions import Fraction

import pytest
from PIL import Image

from demo.picture import BAND, CELL, WORKFLOWS, asked, frame_at, in_rows, largest, pair, readme_picture
from demo.run_demo.video_files import write_frames
from demo.vocabulary import Prompt

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)


def plain(color: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, color)


def is_near(seen: object, color: tuple[int, int, int]) -> bool:
    """Videos keep colours roughly."""
    assert isinstance(seen, tuple)
    return all(abs(a - b) < 25 for a, b in zip(seen, color, strict=True))


@pytest.mark.parametrize(("columns", "size"), [(2, (64, 64)), (3, (96, 32)), (1, (32, 96))])
def test_images_stand_row_by_row(columns: int, size: tuple[int, int]):
    sheet = in_rows([plain(RED), plain(GREEN), plain(BLUE)], columns)
    assert sheet.size == size
    for n, color in enumerate((RED, GREEN, BLUE)):
        assert sheet.getpixel((n % columns * 32 + 16, n // columns * 32 + 16)) == color


def test_the_small_picture_stands_left_and_as_large_as_the_other():
    both = pair(plain(RED, (8, 8)), plain(BLUE, (16, 16)), "a red circle")
    assert both.size == (2 * CELL, BAND + CELL)
    assert both.getpixel((CELL // 2, BAND + CELL // 2)) == RED
    assert both.getpixel((CELL + CELL // 2, BAND + CELL // 2)) == BLUE


def test_moments_and_the_largest_video(tmp_path):
    small, large = tmp_path / "v_preview.mp4", tmp_path / "v.mp4"
    write_frames(small, [plain(RED), plain(GREEN), plain(BLUE)], Fraction(12))
    write_frames(large, [plain(RED, (64, 64)), plain(BLUE, (64, 64))], Fraction(12))
    for moment, color in ((0.0, RED), (0.5, GREEN), (1.0, BLUE)):
        assert is_near(frame_at(small, moment).getpixel((16, 16)), color)
    assert largest([small, large]) == largest([large, small]) == large
    picture = readme_picture({"v_preview": small, "v": large}, tmp_path)
    assert picture.width > 4 * 64 and picture.height >= 64


def test_the_sheet_asks_for_the_prompt_and_its_seed():
    given = asked(Prompt("red", "circle", "up", "grass"), 77)
    assert given["S2FlowDemoPrompt"] == {
        "color": "red",
        "shape": "circle",
        "direction": "up",
        "ground": "grass",
    }
    assert given["RandomNoise"] == {"noise_seed": 77}


def test_every_workflow_of_the_demo_gets_a_thumbnail():
    assert len(WORKFLOWS) == 6 and all(file.with_suffix(".jpg").is_file() for file in WORKFLOWS)
