"""The farm on real ComfyUIs: previews, picks, large videos; whoever is killed, each is made once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from farm_runs import FarmRun, frames, manifest_in, require_gone, results

from comfyui_runner.installation import ROOT


def test_a_preview_and_its_large_video_though_comfyui_is_killed(tmp_path: Path):
    manifest = manifest_in(tmp_path, seeds=1)
    run = FarmRun(manifest)
    try:
        run.until(run.workers)
        run.until(lambda: run.comfyuis() and run.listening())
        assert run.listening() == {"127.0.0.1"}
        family = run.family()
        run.comfyuis()[0].send_signal(signal.SIGKILL)
        run.end()
        require_gone(family)
        assert len(results(run.store, "preview")) == 1 and results(run.store, "large") == {}
        (run.store / "picks.txt").write_text("all\n")
        FarmRun(manifest).end()
        preview, large = (results(run.store, stage) for stage in ("preview", "large"))
        assert len(preview) == len(large) == 1
        assert (
            "0 failed"
            in subprocess.run(
                [sys.executable, "-m", "farm", str(manifest), "--status"],
                cwd=ROOT,
                capture_output=True,
                text=True,
            ).stdout
        )
        assert "Starting" not in FarmRun(manifest).end(), "nothing is left to do, so nothing is started"
    finally:
        run.stop()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_comfyui_worker_and_driver_leave_the_videos_of_an_undisturbed_run(tmp_path: Path):
    calm = manifest_in(tmp_path / "calm", seeds=4)
    FarmRun(calm, "--workers", "2").end()
    rough = manifest_in(tmp_path / "rough", seeds=4)
    run = FarmRun(rough, "--workers", "2")
    run.until(lambda: len(run.comfyuis()) == 2)
    run.comfyuis()[0].send_signal(signal.SIGKILL)
    run.until(lambda: len(results(run.store, "preview")) >= 1)
    run.workers()[-1].send_signal(signal.SIGKILL)
    run.until(lambda: len(results(run.store, "preview")) >= 2)
    family = run.family()
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    require_gone(family)
    made = {key: video.stat().st_mtime_ns for key, video in results(run.store, "preview").items()}
    picks = "\n".join(sorted(results(calm.parent / "store", "preview"))[:2])
    for manifest in (calm, rough):
        (manifest.parent / "store").joinpath("picks.txt").write_text(picks)
        FarmRun(manifest, "--workers", "2").end()
    for stage, count in (("preview", 4), ("large", 2)):
        undisturbed, disturbed = (results(m.parent / "store", stage) for m in (calm, rough))
        assert len(undisturbed) == count and undisturbed.keys() == disturbed.keys()
        assert all(frames(undisturbed[key]) == frames(disturbed[key]) for key in undisturbed)
    kept = {key: results(run.store, "preview")[key].stat().st_mtime_ns for key in made}
    assert kept == made, "what was finished is not made again"
    assert "Starting" not in FarmRun(rough).end()
