"""Work is counted without numbers, and capture is a small part of the call that it watches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.common.counted_work import CountedWork

pytest.importorskip("triton", reason="Triton is not installed; it exists for Linux and Windows only")


def test_capture_is_at_most_a_hundredth_of_a_dense_call():
    from benchmarks.attention.counted_capture import counted_capture
    from benchmarks.attention.tables import MOST_CAPTURE

    table, share = counted_capture()
    assert 0.001 < share <= MOST_CAPTURE
    assert table.rows[1][1] > 2 * 256 * 115_200 * 24 * 128  # at least q·k


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_count_does_not_depend_on_who_asks(mode: Any):
    """Under inference mode torch does not tell what `matmul` or `reshape` are made of."""
    from benchmarks.attention.counted_capture import capture_work

    here = capture_work()
    with mode():
        there = capture_work()
    assert (here.flops, here.bytes) == (there.flops, there.bytes)


def test_operations_and_bytes_are_what_torch_does():
    a, b = torch.empty(8, 16, device="meta"), torch.empty(16, 4, device="meta")
    with CountedWork() as work:
        product = a @ b
    assert work.flops == 2 * 8 * 16 * 4
    assert work.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4)
    with CountedWork() as work:
        view = product.view(4, 8)[:2].expand(3, 2, 8)
    assert work.bytes == work.flops == 0
    with CountedWork() as work:
        _ = view + 1.0
    assert work.bytes == 4 * (16 + 48)
