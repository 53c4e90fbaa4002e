"""The large run's seconds follow from the small one's by counting."""

from __future__ import annotations

import pytest
import torch
from random_plans import LARGE, SMALL, plan, random_record

from s2flow_core.outlook.forecast import Forecast, density_of_run, time_in_words
from s2flow_core.trajectory.step_seconds import StepSeconds

SECONDS = StepSeconds(whole=10.0, attention=6.0, capture=1.0)


@pytest.mark.parametrize(
    ("density", "tail", "seconds"),
    [(1.0, 0, 4 * 3 + 16 * 6), (0.5, 0, 4 * 3 + 8 * 6), (0.5, 128, 4 * 3 + 16 * 6 * 0.6), (0.0, 0, 12)],
)
def test_attention_grows_with_the_pairs_and_the_rest_with_the_tokens(density, tail, seconds):
    forecast = Forecast(SECONDS, (5, 8, 8), 1280, tail)
    assert forecast.step(density) == pytest.approx(seconds)
    assert forecast.speedup(density) == pytest.approx(108 / seconds)


def test_a_tail_that_would_see_more_than_everything_sees_everything():
    assert Forecast(SECONDS, (5, 8, 8), 1280, 1280).step(0.9) == pytest.approx(108)


def test_the_same_size_takes_as_long_without_the_capture():
    assert Forecast(SECONDS, (5, 8, 8), 320, 0).step(1.0) == pytest.approx(9.0)


def test_the_plan_says_how_many_tokens_and_tiles():
    made = plan(random_record(0), 0.5)
    assert Forecast.of(SECONDS, SMALL.shape, made) == Forecast(SECONDS, (5, 8, 8), 1280, 0)


def test_density_of_the_steps_that_are_taken():
    made = plan(random_record(0, steps=4), 0.5, "budget")  # sigmas 1.0, 0.7, 0.4, 0.1
    last_two = sum(made.density_of_step(step) for step in (2, 3)) / 2
    assert density_of_run(made, torch.tensor([0.4, 0.1, 0.0]).tolist()) == pytest.approx(last_two)
    assert density_of_run(made, ()) == pytest.approx(made.density)
    # Beyond the record a step is dense.
    assert density_of_run(made, (2.0, 0.0)) == 1.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (41.4, "41 s"), (89, "89 s"), (91, "2 min"), (725, "12 min"), (4810, "1 h 20 min")],
)
def test_time_in_words(seconds, words):
    assert time_in_words(seconds) == words


def test_tokens_of_the_plan_are_those_of_its_grid():
    assert LARGE.tokens == 4 * SMALL.tokens
