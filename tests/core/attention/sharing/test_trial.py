"""Calls run alone, then shared, and the faster way stays."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.attention.sharing.speeds import Speeds
from s2flow_core.attention.sharing.trial import Trial


@pytest.mark.parametrize(("shared", "stays"), [(0.6, True), (1.1, False), (1.0, False)])
def test_the_faster_way_stays(shared, stays):
    trial = Trial()
    ways = []
    while not trial.decided:
        ways.append(trial.shares)
        # The first call of each way warms up, and does not count.
        trial.note(9.0 if len(ways) in (1, 3) else shared if trial.shares else 1.0)
    assert ways == [False, False, True, True, True]
    assert trial.shares is stays


def test_the_first_shared_call_teaches_no_speed():
    trial = Trial()
    taught = []
    for _ in range(5):
        if trial.shares:
            taught.append(trial.learns_speeds)
        trial.note(1.0)
    assert taught == [False, True, True]


def test_giving_up_is_for_good():
    trial = Trial()
    trial.give_up()
    assert (trial.decided, trial.shares) == (True, False)


def test_speeds_are_those_of_the_latest_calls_and_unknown_ones_the_mean():
    speeds, (a, b, c) = Speeds(), [torch.device("cpu", number) for number in range(3)]
    assert speeds.of([a, b]) == [1.0, 1.0]
    speeds.learn(a, 10.0, 1.0)
    speeds.learn(b, 30.0, 1.0)
    assert speeds.of([a, b, c]) == [10.0, 30.0, 20.0]
    speeds.learn(a, 20.0, 1.0)
    assert speeds.of([a])[0] == 15.0
