"""Dense attention sees everything, whatever windows the call names."""

from __future__ import annotations

import torch
from attention_cases import TOLERANCE, Case, cases, compute, reference, relative_error
from hypothesis import given, settings

from s2flow_core.attention.call import VisitedKeys


@given(cases())
@settings(max_examples=30)
def test_dense_ignores_the_windows(case: Case):
    whole = Case(**{**case.__dict__, "extents": (case.grid.tiles,) * case.heads})
    assert torch.equal(compute(case, "dense"), compute(whole, "dense"))


@given(cases(dtypes=(torch.float32,)))
@settings(max_examples=30)
def test_dense_is_softmax_over_all_keys_and_counts_them(case: Case):
    whole = Case(**{**case.__dict__, "extents": (case.grid.tiles,) * case.heads})
    visited = VisitedKeys()
    result = compute(case, "dense", tail=True, stats=visited)
    assert relative_error(result, reference(whole)) <= TOLERANCE[torch.float32]
    assert visited.seen == visited.possible == case.batch * case.heads * case.grid.tokens**2
