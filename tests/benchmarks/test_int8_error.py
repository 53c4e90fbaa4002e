"""What eight bits lose is measured by the kernel itself, in a process with Triton's interpreter."""

from __future__ import annotations

import torch
from triton_interpreter import needs_triton

from benchmarks.attention.int8_error import MOST_ON_RANDOM, errors_of


@needs_triton
def test_every_layer_has_its_error():
    q, k, v = torch.randn(3, 1, 1, 128, 64, generator=torch.Generator().manual_seed(1))
    # Keys that are all alike leave nothing to round.
    cases = {"random": [(q, k, v), (q, k + 5, v)], "alike": [(q, torch.ones_like(k), v)]}
    errors = errors_of(cases, (1, 8, 16), torch.float32, "cpu")
    assert [len(layers) for layers in errors.values()] == [2, 1]
    assert all(1e-3 < error <= MOST_ON_RANDOM for error in errors["random"])
    assert errors["alike"][0] < 1e-5
