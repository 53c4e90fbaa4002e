"""A plan is looked up by sigma, and says what it costs and keeps."""

from __future__ import annotations

from random_plans import plan, random_record


def test_sigma_finds_the_nearest_recorded_step():
    made = plan(random_record(0, steps=4), 0.5)  # sigmas 1.0, 0.7, 0.4, 0.1
    assert [made.step_at(s) for s in (1.0, 0.86, 0.84, 0.4, 0.26, 0.1, 0.06)] == [0, 0, 1, 2, 2, 3, 3]
    assert made.step_at(1.14) == 0
    assert made.step_at(1.2) is None and made.step_at(0.04) is None
    assert plan(random_record(0, steps=1), 0.5).step_at(1.0) == 0
    assert made.extents_at(2, 1).shape == (4, 3)


def test_the_report_says_what_was_asked_and_what_is_done():
    made = plan(random_record(0), 0.5)
    text = made.report()
    assert "50.0% was asked for" in text and f"{made.density:.1%} of the video" in text
    assert f"{made.coverage.mean():.1%}" in text and f"keeps {made.coverage.min():.1%}" in text
    assert "in tiles of 5×4×4" in text
