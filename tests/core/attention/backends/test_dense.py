"""Dense attention sees everything, whatever windows the call names."""

from __future__ import annotations

import torch
from attention_cases import Case, cases, compute
from hypothesis import given, settings


@given(cases())
@settings(max_examples=30)
def test_dense_ignores_the_windows(case: Case):
    whole = Case(**{**case.__dict__, "extents": (case.grid.tiles,) * case.heads})
    assert torch.equal(compute(case, "dense"), compute(whole, "dense"))
