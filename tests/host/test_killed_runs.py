"""kill -9 at random moments of small run and large run: the same video, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRIALS = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which Windows has not")
def test_a_killed_run_ends_as_the_unbroken_one(tmp_path, amount):
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(TRIALS), "1"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    trials = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"trial"')]
    tried = amount("runs killed at random points, and resumed", TRIALS, TRIALS)
    for _ in trials:
        tried.count()
    assert len(trials) == tried.number
    assert all(trial["equal"] and not trial["left"] for trial in trials), trials
    assert sum(trial["kills"] for trial in trials) >= TRIALS // 2
    # The last attempt did only what was left: in most trials less than the whole.
    assert sum(t["calls"] < t["calls of the unbroken run"] for t in trials if t["kills"]) >= TRIALS // 4
    print(f"{TRIALS} trials, {sum(trial['kills'] for trial in trials)} kills: all resumed, all equal")
