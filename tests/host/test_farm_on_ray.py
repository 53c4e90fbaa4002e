"""The farm's Ray pool with a real ComfyUI: an actor and a ComfyUI are killed, then the driver."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from farm_runs import FarmRun, manifest_in, require_gone, results

pytest.importorskip("ray", reason="Ray is not installed; pip install 'ray==2.60.*' brings it.")


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_what_is_killed_on_a_cluster_is_made_once(tmp_path: Path):
    manifest = manifest_in(tmp_path, seeds=1)
    options = ("--workers", "1", "--address", "local")
    run = FarmRun(manifest, *options, alone=True)
    run.until(run.actors)  # before them another ComfyUI reads the workflow
    run.until(run.comfyuis)
    victim = run.comfyuis()[0]
    victim.send_signal(signal.SIGKILL)
    run.until(lambda: any(one != victim for one in run.comfyuis()))
    run.actors()[0].send_signal(signal.SIGKILL)
    run.end()
    assert len(results(run.store, "preview")) == 1
    (run.store / "picks.txt").write_text("all\n")
    run = FarmRun(manifest, *options, alone=True)
    run.until(run.comfyuis)
    family, working = run.family(), [*run.comfyuis(), *run.actors()]
    run.process.send_signal(signal.SIGKILL)
    require_gone(working)
    require_gone(family, 120.0)  # Ray's own agents look for their parent once a minute
    assert results(run.store, "large") == {}
    FarmRun(manifest, *options, alone=True).end()
    assert len(results(run.store, "large")) == 1
