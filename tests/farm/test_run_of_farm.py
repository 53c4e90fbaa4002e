"""A whole run without ComfyUI: previews, picks, large videos, status, and what the terminal shows."""

from __future__ import annotations

import io
import json
import random
from contextlib import nullcontext
from pathlib import Path

import pytest
from fake_pool import FakePool

from farm import run
from farm.drive import Drive, Running
from farm.jobs import LARGE, PREVIEW, Job
from farm.pool import Made, NodeFailed, Told
from farm.refusal import Refusal
from farm.run import Run, status_of
from farm.store import opened_store
from farm.terminal import Terminal, seconds_left, stages_line

PREVIEWS = [Job(PREVIEW, f"{number:02}" * 32, f"seed={number}") for number in (10, 20, 30)]
JOBS = [*PREVIEWS, *(Job(LARGE, job.key[::-1], job.name, needs=job.key) for job in PREVIEWS)]


class WritingPool(FakePool):
    """Makes every job at once, but for those that are to fail."""

    def __init__(self, failing: set[str]):
        super().__init__(random.Random(0), 2)
        self.failing = failing

    def wait(self, seconds: float) -> list[Told]:
        told = []
        for worker, (job, folder) in self.jobs.items():
            if job.key not in self.failing:
                folder.mkdir()
                (folder / "result.json").write_text(json.dumps({"files": ["a.mp4"]}))
            event = NodeFailed("no file") if job.key in self.failing else Made()
            told.append(Told(worker, folder, event))
        self.jobs.clear()
        return told


def run_in(folder, failing: frozenset[str] = frozenset()) -> tuple[int, list[str]]:
    """One run; returns its status and what it started."""
    pool = WritingPool(set(failing))
    with opened_store(folder) as store:
        status = Run(store, JOBS, lambda: nullcontext(pool)).make(wait=False)
    return status, pool.started


def test_previews_then_the_large_videos_of_the_picks_then_nothing(tmp_path, capsys):
    assert run_in(tmp_path) == (0, [job.key for job in PREVIEWS])
    assert "Tick previews in" in capsys.readouterr().out
    assert (tmp_path / "contact_sheet.html").read_text().count("<video") == 3
    (tmp_path / "picks.txt").write_text("1010\n3030\n")
    assert run_in(tmp_path) == (0, [JOBS[3].key, JOBS[5].key])
    assert run_in(tmp_path) == (0, [])
    told = status_of(tmp_path, JOBS)
    assert told.splitlines() == [
        "preview: 3 of 3 made, 0 failed",
        "large: 2 of 3 made, 0 failed",
        "picked: 2 large",
    ]


def test_what_failed_is_told_again_and_left_until_it_is_retried(tmp_path, capsys):
    failing = frozenset({PREVIEWS[1].key})
    assert run_in(tmp_path, failing)[0] == 1
    assert f"{PREVIEWS[1].short} failed: no file" in capsys.readouterr().out
    assert run_in(tmp_path) == (1, [])
    with opened_store(tmp_path) as store:
        assert store.forget_failures() == 1
    assert run_in(tmp_path) == (0, [PREVIEWS[1].key])


def test_a_pick_that_names_nothing_is_told_and_passed_over(tmp_path, capsys):
    (tmp_path / "picks.txt").write_text("zz\n1010\n")
    assert run_in(tmp_path) == (0, [*(job.key for job in PREVIEWS), JOBS[3].key])
    assert capsys.readouterr().out.count("line 1: no preview begins with 'zz'") == 1
    told = status_of(tmp_path, JOBS)
    assert "picked: 1 large" in told and "line 1: no preview begins with 'zz'" in told


@pytest.mark.parametrize("wrong", [b"1\n", b"# M\xf6we\n"], ids=["ambiguous", "latin-1"])
def test_wrong_picks_end_a_run_that_has_not_begun_and_leave_one_that_runs(tmp_path, capsys, wrong: bytes):
    jobs = [*JOBS, Job(PREVIEW, "11" * 32)]

    class Writer(WritingPool):
        """Somebody saves picks while the first jobs are made."""

        def wait(self, seconds: float) -> list[Told]:
            (tmp_path / "picks.txt").write_bytes(wrong)
            return super().wait(seconds)

    pool = Writer(set())
    with opened_store(tmp_path) as store:
        assert Run(store, jobs, lambda: nullcontext(pool)).make(wait=False) == 0
    assert "The picks from before are kept." in capsys.readouterr().out
    assert len(pool.started) == 4
    with opened_store(tmp_path) as store, pytest.raises(Refusal, match="picks"):
        Run(store, jobs, lambda: nullcontext(pool)).make(wait=False)
    assert "preview: 4 of 4 made" in status_of(tmp_path, jobs) and "picks.txt" in status_of(tmp_path, jobs)


def test_a_tick_that_is_taken_back_takes_back_the_video_that_waits(tmp_path):
    class Unticking(WritingPool):
        """All are ticked from the start; after the first large video begins, one tick stays."""

        def start(self, worker: str, job: Job, folder: Path) -> None:
            super().start(worker, job, folder)
            if job.stage == LARGE:
                (tmp_path / "picks.txt").write_text("1010\n")

    (tmp_path / "picks.txt").write_text("all\n")
    pool = Unticking(set())
    pool.names = ["w0"]
    with opened_store(tmp_path) as store:
        Run(store, JOBS, lambda: nullcontext(pool)).make(wait=False)
    assert pool.started == [job.key for job in JOBS[:4]]


def test_the_sheet_is_written_now_and_then_and_at_the_end_of_any_run(tmp_path, monkeypatch):
    class Interrupted(WritingPool):
        def wait(self, seconds: float) -> list[Told]:
            if not self.jobs:
                raise KeyboardInterrupt
            return super().wait(seconds)

    jobs = [Job(PREVIEW, f"{number:04}" * 16) for number in range(60)]
    written = []
    pool = Interrupted(set())
    monkeypatch.setattr(run, "STEP_SECONDS", 0.01)
    with opened_store(tmp_path) as store:
        farm = Run(store, jobs, lambda: nullcontext(pool))
        write = farm.write_sheet
        monkeypatch.setattr(farm, "write_sheet", lambda: written.append(1) or write())
        with pytest.raises(KeyboardInterrupt):
            farm.make(wait=True)
    assert len(written) < 10, "30 steps end with a result"
    assert (tmp_path / "contact_sheet.html").read_text().count("<video") == 60


def test_the_terminal_shows_each_stage_with_the_seconds_left(tmp_path):
    now = [100.0]
    with opened_store(tmp_path) as store:
        drive = Drive(FakePool(random.Random(0), 2), store, clock=lambda: now[0])
        assert stages_line(drive, JOBS) == "preview 0 of 3; large 0 of 3"
        drive.running = {"w": Running(PREVIEWS[0], tmp_path, since=80.0, heard=0.0, share=0.25)}
        # 80 s each, 20 s of the first are over, one worker
        assert seconds_left(drive, PREVIEW, 3) == 3 * 80 - 20
        assert stages_line(drive, JOBS) == "preview 0 of 3, 1 running, about 220 s left; large 0 of 3"
        drive.counts.seconds = {PREVIEW: [30.0, 50.0]}
        assert seconds_left(drive, PREVIEW, 1) == 40 - 20
        stream = io.StringIO()
        terminal = Terminal(drive, stream)
        for _ in range(3):
            terminal.show(JOBS)
        terminal.show(PREVIEWS, final=True)
        assert len(stream.getvalue().splitlines()) == 2
