"""The loop: every key is committed exactly once, whoever dies; what cannot be made is said once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_pool import DriverKilled, FakePool, MemoryStore
from hypothesis import given, settings
from hypothesis import strategies as st

from farm import drive
from farm.drive import MOST_ATTEMPTS, SILENT_SECONDS, Drive
from farm.jobs import LARGE, PREVIEW, Job
from farm.pool import Event, Lost, Made, NodeFailed, PoolLost, Progress, Stopped, Told
from farm.refusal import Refusal


def clips(count: int) -> list[Job]:
    """Previews, then the large videos that need them."""
    previews = [Job(PREVIEW, f"p{number:03}") for number in range(count)]
    return [*previews, *(Job(LARGE, f"l{number:03}", needs=job.key) for number, job in enumerate(previews))]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 24))
def test_every_key_is_committed_once_whoever_dies(seed: int, workers: int):
    chance = random.Random(seed)
    jobs = clips(100)
    results = MemoryStore(killed=lambda: chance.random() < 0.005)
    for _ in range(10_000):  # drivers
        pool = FakePool(chance, workers, deaths=0.05, pool_deaths=0.01, memory=0.02)
        driver = Drive(pool, results)
        driver.add(jobs)
        try:
            while driver.busy:
                if chance.random() < 0.01:
                    raise DriverKilled
                driver.step(0.0)
        except DriverKilled:
            continue
        left = [job for job in jobs if not results.is_committed(job)]
        assert {job.key for job in left} == driver.failed.keys()
        if not left:
            break
    assert results.commits == {job.key: 1 for job in jobs}


def test_a_second_run_starts_what_is_unfinished_alone_and_a_third_nothing():
    jobs, results = clips(20), MemoryStore()
    first = Drive(FakePool(random.Random(1), 3), results)
    first.add(jobs)
    for _ in range(6):
        first.step(0.0)
    finished = {job.key for job in jobs if results.is_committed(job)}
    assert 0 < len(finished) < len(jobs)
    pool = FakePool(random.Random(2), 3)
    second = Drive(pool, results)
    second.add(jobs)
    second.run()
    assert sorted(pool.started) == sorted({job.key for job in jobs} - finished)
    third = Drive(pool, results)
    third.add(jobs)
    assert not third.busy


class Scripted(FakePool):
    """One worker that tells what the test wrote down, one list for each time that it is asked."""

    def __init__(self, *told: Sequence[Event]):
        super().__init__(random.Random(0), 1)
        self.script = list(told)

    def events(self, worker: str, folder: Path) -> Sequence[Event]:
        now = self.script.pop(0) if self.script else [Made()]
        if any(not isinstance(event, Progress) for event in now):
            del self.jobs[worker]
        return now


def driven(pool: FakePool, jobs: list[Job]) -> tuple[Drive, MemoryStore]:
    results = MemoryStore()
    driver = Drive(pool, results)
    driver.add(jobs)
    driver.run()
    return driver, results


@pytest.mark.parametrize("deaths", range(MOST_ATTEMPTS + 1))
def test_a_job_whose_worker_dies_goes_to_the_front_and_is_given_up_after_three(deaths: int):
    jobs = [Job(PREVIEW, "a"), Job(PREVIEW, "b")]
    pool = Scripted(*[[Lost("killed")]] * deaths)
    _, results = driven(pool, jobs)
    if deaths < MOST_ATTEMPTS:
        assert pool.started == ["a"] * (deaths + 1) + ["b"]
        assert results.commits == {"a": 1, "b": 1}
    else:
        assert pool.started == ["a"] * MOST_ATTEMPTS + ["b"]
        assert results.commits == {"b": 1}
        assert "died 3 times, last: killed" in results.failed["a"]


@pytest.mark.parametrize(("errors", "made"), [(1, True), (2, False)])
def test_memory_that_ran_out_is_tried_once_more_on_a_fresh_comfyui(errors: int, made: bool):
    pool = Scripted(*[[NodeFailed("CUDA out of memory", memory=True)]] * errors)
    driver, results = driven(pool, [Job(PREVIEW, "a")])
    assert pool.killed == [("w0", False)]
    assert bool(results.commits) is made
    assert driver.failed == ({} if made else {"a": "CUDA out of memory"})


class LostInKill(Scripted):
    """Its first kill finds the whole pool dead."""

    def kill(self, worker: str, whole: bool) -> None:
        super().kill(worker, whole)
        if len(self.killed) == 1:
            raise PoolLost("died while a worker was killed")


def test_a_pool_that_dies_in_the_kill_after_a_lack_of_memory_loses_no_job():
    pool = LostInKill([NodeFailed("CUDA out of memory", memory=True)])
    driver, results = driven(pool, [Job(PREVIEW, "a"), Job(PREVIEW, "b")])
    assert pool.killed == [("w0", False)] and driver.failed == {}
    assert results.commits == {"a": 1, "b": 1}


def test_a_pool_that_dies_in_the_kill_of_a_silent_worker_loses_no_job():
    now = [0.0]
    pool, results = LostInKill([], []), MemoryStore()
    driver = Drive(pool, results, clock=lambda: now[0])
    driver.add([Job(PREVIEW, "a"), Job(PREVIEW, "b")])
    driver.step(0.0)
    now[0] = SILENT_SECONDS + 1
    driver.step(0.0)
    assert pool.killed == [("w0", True)]
    driver.run()
    assert results.commits == {"a": 1, "b": 1}


@pytest.mark.parametrize("place", range(4))
def test_results_that_are_told_with_a_stop_are_kept(place: int):
    pool, results = FakePool(random.Random(0), 4), MemoryStore()
    driver = Drive(pool, results)
    driver.add(clips(4)[:4])
    told = {}

    def heard(seconds: float) -> list[Told]:
        for number, (worker, (job, folder)) in enumerate(pool.jobs.items()):
            told[job.key] = Told(worker, folder, Stopped("full") if number == place else Made())
        return list(told.values())

    pool.wait = heard
    with pytest.raises(Refusal, match="full"):
        driver.step(0.0)
    assert results.commits == {key: 1 for key, one in told.items() if one.event == Made()}
    assert len(results.commits) == 3


def test_a_node_error_is_final_for_its_clip_alone():
    _, results = driven(Scripted([NodeFailed("no such file")]), clips(2))
    assert results.commits == {"p001": 1, "l001": 1}
    assert results.failed == {"p000": "no such file", "l000": "Its preview failed: no such file"}


def test_a_refused_prompt_stops_the_run_before_other_jobs():
    pool = Scripted([Stopped("Node 5 (Noise): Value not in range: noise_seed.")])
    with pytest.raises(Refusal, match=r"first: Node 5 \(Noise\)"):
        driven(pool, [Job(PREVIEW, "a", "first"), Job(PREVIEW, "b")])
    assert pool.started == ["a"]


def test_a_silent_worker_is_taken_for_dead_and_its_late_result_left_alone():
    now = [0.0]
    pool, results = FakePool(random.Random(0), 1), MemoryStore()
    driver = Drive(pool, results, clock=lambda: now[0])
    driver.add([Job(PREVIEW, "a")])
    pool.events = lambda worker, folder: []
    driver.step(0.0)
    late = Told("w0", pool.jobs["w0"][1], Made())
    now[0] = SILENT_SECONDS + 1
    driver.step(0.0)
    assert pool.killed == [("w0", True)] and driver.counts.lost == 1
    pool.stray = [late]
    driver.step(0.0)
    assert results.commits == {} and driver.running, "the late result is of a job that was taken away"


def test_progress_keeps_a_worker_alive():
    now = [0.0]
    pool = FakePool(random.Random(0), 1)
    driver = Drive(pool, MemoryStore(), clock=lambda: now[0])
    driver.add([Job(PREVIEW, "a")])
    pool.events = lambda worker, folder: [Progress(0.5, "Low-Res Sampler")]
    for _ in range(4):
        driver.step(0.0)
        now[0] += SILENT_SECONDS * 0.9
    assert pool.killed == []
    assert [(run.share, run.what) for run in driver.running.values()] == [(0.5, "Low-Res Sampler")]


def test_a_pool_that_dies_again_and_again_ends_with_a_sentence():
    pool = FakePool(random.Random(0), 2, pool_deaths=1.0)
    with pytest.raises(Refusal, match="died 4 times before anything was finished: the cluster is gone"):
        driven(pool, clips(1))


@pytest.mark.parametrize("made", [True, False])
def test_a_job_that_waits_is_taken_back_and_can_be_added_again(made: bool):
    """made: whether its preview is there, or still to come."""
    jobs, results = clips(2), MemoryStore()
    if made:
        results.kept[PREVIEW] |= {"p000", "p001"}
    driver = Drive(FakePool(random.Random(0), 1), results)
    driver.add(jobs)
    driver.keep_only({"p000", "p001", "l001"})
    driver.add(jobs[:2])
    driver.run()
    assert "l000" not in results.commits and results.commits["l001"] == 1
    driver.add(jobs)
    driver.run()
    assert results.commits["l000"] == 1 and results.commits["l001"] == 1


def test_a_job_that_runs_is_finished_though_it_is_wanted_no_more():
    driver = Drive(pool := Scripted([Progress(0.5)]), results := MemoryStore())
    driver.add([Job(PREVIEW, "a"), Job(PREVIEW, "b")])
    driver.step(0.0)
    driver.keep_only(set())
    driver.run()
    assert pool.started == ["a"] and results.commits == {"a": 1}


def test_picks_that_come_while_it_runs_are_begun_without_waiting_for_the_last_preview():
    pool = Scripted()
    driver = Drive(pool, results := MemoryStore())
    previews, large = clips(3)[:3], clips(3)[3:]
    driver.add(previews)
    driver.step(0.0)
    driver.add(large[:1])
    driver.add(large[:1])
    driver.run()
    assert results.commits == {"p000": 1, "p001": 1, "p002": 1, "l000": 1}
    assert drive.MOST_POOL_STARTS == 3
