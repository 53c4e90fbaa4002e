"""Measuring a layer makes a GPU wait for nothing, once its tables are there."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module

import pytest
import torch
from device_traffic import DeviceTraffic
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from triton_interpreter import needs_triton

from s2flow_core.attention import sequence as sequences
from s2flow_core.attention import tile_means
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.reach import box_sums, choice, output_error
from s2flow_core.reach.measure import measure_reach
from s2flow_core.reach.output_error import measure_reach_and_error
from s2flow_core.windows import extents
from s2flow_core.windows.grid import TokenGrid
from s2flow_core.windows.ladder import extent_ladder


@needs_triton
@pytest.mark.parametrize("text", [0, 7])
@pytest.mark.parametrize("with_error", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_later_layers_copy_and_read_back_nothing(monkeypatch, text, with_error, masked):
    kernel = import_module("s2flow_core.reach.triton_tile_sums")
    monkeypatch.setattr(kernel, "architecture_of", lambda device: "sm_90")
    monkeypatch.setattr(kernel, "tile_sums_programs", lambda programs: lambda *given, **named: None)
    monkeypatch.setattr(choice, "_is_right", lambda *call: True)
    monkeypatch.setattr(torch.cuda, "device_of", lambda tensor: nullcontext())
    # Whether a mask weighs anything is read once per forward pass, and these tensors hold nothing to read.
    monkeypatch.setattr(sequences, "key_bias", lambda mask, batch, tokens: mask.float())
    grid = TokenGrid((3, 16, 24), (1, 4, 4))
    knots = extent_ladder(grid.tiles, 30)
    tables = (extents.axis_covers, box_sums._runs, output_error._projection, tile_means._number_of_tokens)
    for table in tables:  # tensors with numbers must not meet those without
        table.cache_clear()
    try:
        with FakeTensorMode():
            q, k, v = (
                torch.empty(2, 4, grid.tokens + text, 64, dtype=torch.bfloat16, device="cuda") for _ in "qkv"
            )
            rows = torch.empty(32, dtype=torch.int64, device="cuda")
            mask = torch.empty(2, grid.tokens + text, dtype=torch.bfloat16, device="cuda") if masked else None
            sequence = VideoSequence(grid, suffix=text, key_mask=mask)

            def measure(q: Tensor, k: Tensor, v: Tensor) -> None:
                if with_error:
                    measure_reach_and_error(q, k, v, sequence, rows, knots)
                else:
                    measure_reach(q, k, sequence, rows, knots)

            measure(q, k, v)
            with DeviceTraffic() as traffic:
                measure(q, k, v)
            assert dict(traffic.waits) == {}
    finally:
        for table in tables:
            table.cache_clear()
