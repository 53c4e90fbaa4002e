"""A window is few batches of equal boxes, which together hold every query once."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.attention.boxes import boxes_of, strided, tiles_inside
from s2flow_core.windows.grid import TokenGrid


def test_boxes_of_an_extent_are_few_and_hold_every_query_once():
    grid = TokenGrid((30, 96, 160))
    for extent in ((6, 7, 12), (15, 6, 20), (4, 4, 4), (1, 1, 1)):
        batches = boxes_of(grid, extent)
        assert len(batches) <= 27
        queries = sum(
            groups[0].count
            * groups[0].queries.length
            * groups[1].count
            * groups[1].queries.length
            * groups[2].count
            * groups[2].queries.length
            for groups in batches
        )
        assert queries == grid.tokens


@pytest.mark.parametrize(("shape", "tile"), [((3, 5, 7), (1, 2, 3)), ((4, 4, 4), (2, 2, 2))])
def test_boxes_are_views_and_know_the_tiles_that_they_hold(shape, tile):
    """The keys of every box are those tiles that it says it holds, in any layout with text before them."""
    grid, prefix = TokenGrid(shape, tile), 2
    tile_of = torch.arange(grid.tile_count, dtype=torch.float32).repeat_interleave(grid.tile_tokens)
    marks = grid.from_tiles(tile_of[None, None, :, None])  # (1, 1, tokens, 1), the number of each one's tile
    sequence = torch.cat([torch.full((1, 1, prefix, 1), -1.0), marks], dim=2)
    for boxes in boxes_of(grid, (2, 1, 2)):
        keys = strided(sequence, grid, prefix, [groups.keys for groups in boxes])
        assert keys.untyped_storage().data_ptr() == sequence.untyped_storage().data_ptr()
        held = tiles_inside(grid, boxes, torch.device("cpu"))
        places = [range(groups.count) for groups in boxes]
        for place in torch.cartesian_prod(*map(torch.tensor, places)).tolist():
            inside = held[tuple(place)].nonzero().flatten().tolist()
            assert sorted(set(keys[0, 0][tuple(place)].flatten().tolist())) == inside
