"""The sheet shows the right frames of every video in its row."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.contact_sheet import contact_sheet


def plain(values: list[float], height: int = 20, width: int = 40) -> torch.Tensor:
    """A clip whose frames are each of one grey."""
    return torch.tensor(values)[:, None, None, None].expand(-1, height, width, 3)


def test_rows_are_videos_and_columns_their_frames_from_first_to_last():
    clips = [plain([0.2, 0.4, 0.6, 0.8, 1.0]), plain([1.0, 0.5, 0.0])]
    sheet = contact_sheet(clips, columns=3, frame_height=64)
    assert sheet.shape == (2 * (64 + 8) + 8, 3 * (128 + 8) + 8, 3)
    middles = [8 + 64 + column * 136 for column in range(3)]
    rows = [8 + 40, 72 + 8 + 40]
    shown = torch.tensor([[sheet[row, middle, 0] for middle in middles] for row in rows])
    torch.testing.assert_close(shown, torch.tensor([[0.2, 0.6, 1.0], [1.0, 0.5, 0.0]]), atol=0.01, rtol=0)


def test_every_row_bears_another_number():
    sheet = contact_sheet([plain([0.5, 0.5])] * 3, columns=2, frame_height=96)
    corners = [sheet[row * 104 + 8 : row * 104 + 26, 8:26] for row in range(3)]
    assert all(corner.max() > 0.9 and corner.min() < 0.1 for corner in corners)
    assert not torch.equal(corners[0], corners[1])
    assert not torch.equal(corners[1], corners[2])


def test_short_clips_and_mixed_widths_fit_one_sheet():
    sheet = contact_sheet([plain([0.5]), plain([0.1, 0.9], width=80)], columns=4, frame_height=20)
    assert sheet.shape == (2 * 28 + 8, 2 * 88 + 8, 3)
    assert ((sheet >= 0) & (sheet <= 1)).all()


def test_nothing_to_show_is_named():
    with pytest.raises(ValueError, match="needs a video and a column; got 0 and 4"):
        contact_sheet([], 4)
