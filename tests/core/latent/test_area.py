"""Area means are exact for every ratio: a shrunk latent lies where the noise of its size lies."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.latent.area import area_means, area_overlap

RATIOS = [
    (12, 8),
    (72, 42),
    (60, 40),
    (7, 3),
    (8, 12),
    (5, 5),
    (3, 7),
    (16, 4),
    (104, 60),
    (106, 64),
    (17, 5),
]


def exact(line: torch.Tensor, intervals: int) -> torch.Tensor:
    """Every cell cut into `intervals` pieces, and as many pieces as there were cells joined again."""
    return line.repeat_interleave(intervals).reshape(intervals, -1).mean(dim=1)


@pytest.mark.parametrize(("cells", "intervals"), RATIOS)
def test_means_are_those_of_the_area(cells: int, intervals: int):
    line = torch.randn(cells, generator=torch.Generator().manual_seed(cells), dtype=torch.float64)
    found = area_overlap(cells, intervals) @ line * intervals / cells
    torch.testing.assert_close(found, exact(line, intervals))


@pytest.mark.parametrize(("cells", "intervals"), RATIOS)
def test_cells_stay_where_they_are(cells: int, intervals: int):
    """A ramp tells where each new cell lies; adaptive pooling puts it up to a quarter of a cell beside."""
    ramp = torch.arange(cells, dtype=torch.float64) + 0.5
    found = area_means(ramp.expand(cells, cells), (intervals, intervals))[0]
    places = (torch.arange(intervals, dtype=torch.float64) + 0.5) * cells / intervals
    inside = slice(None) if intervals <= cells else slice(1, -1)  # a grown cell keeps its one value
    assert (found - places).abs()[inside].max() <= (0.13 if intervals <= cells else 0.5)


@pytest.mark.parametrize(("cells", "intervals"), RATIOS)
def test_both_axes_and_constants(cells: int, intervals: int):
    frames = torch.full((2, 3, cells, cells + 1), 0.7)
    torch.testing.assert_close(area_means(frames, (intervals, 4)), torch.full((2, 3, intervals, 4), 0.7))
    picture = torch.randn(cells, cells, dtype=torch.float64)
    rows = torch.stack([exact(column, intervals) for column in picture.T], dim=1)
    both = torch.stack([exact(row, intervals) for row in rows])
    torch.testing.assert_close(area_means(picture, (intervals, intervals)), both)
