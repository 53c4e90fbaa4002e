"""Windows that are chosen from the small run's record are as good as from one of the large run."""

from __future__ import annotations

import pytest

from benchmarks.attention.record import MOST_OVER_HIGH_RES, record_errors


@pytest.mark.parametrize(("low", "high"), [((9, 16, 26), (9, 32, 52))])
def test_the_record_is_as_fine_as_the_windows_chosen_from_it(low, high):
    found = record_errors(low, high)
    for s, error in found.from_low_res.items():
        assert error <= MOST_OVER_HIGH_RES * found.from_high_res[s]
        assert error <= found.paper[s]
