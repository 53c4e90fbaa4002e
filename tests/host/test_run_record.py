"""What a run notes is exact when many threads note it at once, as under core's MultiGPU CFG Split."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from threading import Barrier, Thread
from typing import Any

import pytest

THREADS, TIMES, LAYERS = 8, 400, 5


@pytest.fixture(autouse=True)
def hasty_threads() -> Iterator[None]:
    """Python changes threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def record(comfy_modules) -> Any:
    return comfy_modules.pack("nodes.host.attention.run_record").RunRecord()


def in_threads(work: Callable[[int], None]) -> None:
    """All at once; every thread gets its number."""
    together = Barrier(THREADS)

    def run(number: int) -> None:
        together.wait()
        work(number)

    threads = [Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_every_call_is_counted(comfy_modules, record):
    visited = comfy_modules.pack("s2flow_core.attention.call").VisitedKeys

    def serve(number: int) -> None:
        for time in range(TIMES):
            record.serve(time % LAYERS, visited(seen=3, possible=7))
            record.leave_dense(batch=1, heads=2, tokens=3)

    in_threads(serve)
    calls = THREADS * TIMES
    assert record.served == set(range(LAYERS))
    assert record.visited.seen == calls * (3 + 18)
    assert record.visited.possible == calls * (7 + 18)


def test_every_reason_is_logged_once_and_the_first_step_judged_once(record, caplog):
    reasons = [f"reason {number}" for number in range(20)]

    def step(number: int) -> None:
        record.begin_step(1.0, "windows", LAYERS)
        for reason in reasons:
            record.fall_back(reason)
        record.begin_step(0.5, "windows", LAYERS)

    with caplog.at_level("WARNING"):
        in_threads(step)
    told = [one.getMessage() for one in caplog.records]
    assert sorted(text for text in told if "unchanged" in text) == sorted(
        f"S²Flow leaves attention unchanged: {reason}" for reason in reasons
    )
    (judged,) = [text for text in told if "reached 0 of 5 attention layers" in text]
    assert all(reason in judged for reason in reasons)
