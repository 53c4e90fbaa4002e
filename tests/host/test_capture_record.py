"""What the capture keeps of a layer stays a number, however little the layer gives out."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("largest", [1.0, 6e4, 7e4, 5.5e7, float("inf")])
def test_errors_beyond_half_precision_leave_no_nan(comfy_modules, largest):
    """Uniform attention over values of mean zero: the errors are huge in units of the output."""
    capture = comfy_modules.pack("nodes.host.attention.capture")
    reach = comfy_modules.pack("s2flow_core.reach.record").AttentionReach
    extents = comfy_modules.pack("s2flow_core.windows.extents")
    grid = comfy_modules.pack("s2flow_core.windows.grid").TokenGrid((4, 8, 8), (1, 2, 2))
    record: dict[int, torch.Tensor] = {}
    error = torch.linspace(1, 0, grid.tile_count).reshape(grid.tiles) * min(largest, 1e30)
    error[0, 0, 0] = largest
    for slices in range(2):
        capture.join_mean(record, 0, error[None], slices)
    kept = record[0][None, None]  # (steps, layers, heads, nT, nH, nW)
    assert torch.isfinite(kept).all()
    mass = torch.rand(kept.shape).half()
    table = reach(mass, grid.shape, grid.tile, kept).error_table(0, extents.axis_shares(grid))
    assert torch.isfinite(table).all()
    assert (kept.flatten()[:-1].float() >= kept.flatten()[1:].float()).all()
