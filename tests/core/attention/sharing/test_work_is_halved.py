"""On two devices the busiest thread computes hardly more than half of what one device computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from setup.places import ROOT

MOST = 0.56


def busiest_share(times):
    """The CPU time of the thread that works most, as a part of what one device takes alone."""
    alone, main, other = (median(times[which]) for which in ("alone", "main", "helper"))
    return max(main, other) / alone


def test_the_busiest_of_two_threads(capsys):
    script = Path(__file__).with_name("thread_times.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    shares = {name: busiest_share(times) for name, times in found.items()}
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {share:.3f}" for name, share in shares.items()) + " of one device")
    assert max(shares.values()) <= MOST
