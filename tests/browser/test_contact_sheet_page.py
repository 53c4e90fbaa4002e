"""The farm's contact sheet in a browser: previews play, a tick is written and its large video follows."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from fractions import Fraction
from pathlib import Path

import pytest
from fake_pool import FakePool
from PIL import Image
from playwright.sync_api import Browser, Page

from demo.run_demo.video_files import write_frames
from farm.jobs import LARGE, PREVIEW, Job
from farm.picks import read_picks
from farm.pool import Made, Told
from farm.run import Run
from farm.sheet import PAGE
from farm.store import Store, opened_store

PREVIEWS = [Job(PREVIEW, digit * 64, f"seed={digit}") for digit in "12"]
JOBS = [
    *PREVIEWS,
    *(Job(LARGE, digit * 64, needs=job.key) for digit, job in zip("34", PREVIEWS)),
]
PATIENCE = 60.0


class FilmingPool(FakePool):
    """Makes a short video of every job; ended: stands for Ctrl-C."""

    def __init__(self):
        super().__init__(random.Random(0), 1)
        self.ended = threading.Event()

    def wait(self, seconds: float) -> list[Told]:
        if self.ended.wait(0.05):
            raise KeyboardInterrupt
        told = []
        for worker, (_, folder) in self.jobs.items():
            folder.mkdir()
            shades = (Image.new("RGB", (64, 64), (20 * step, 90, 90)) for step in range(12))
            write_frames(folder / "clip.mp4", shades, Fraction(12))
            (folder / "result.json").write_text(json.dumps({"files": ["clip.mp4"]}))
            told.append(Told(worker, folder, Made()))
        self.jobs.clear()
        return told


def until(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def picture_of_a_failure() -> None:
    """In place of the one that needs ComfyUI's page: no ComfyUI is started for these tests."""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Run, Store]]:
    """A farm that has made its previews and waits for ticks."""
    pool = FilmingPool()
    with opened_store(tmp_path) as store:
        run = Run(store, JOBS, lambda: nullcontext(pool))

        def make() -> None:
            with suppress(KeyboardInterrupt):
                run.make(wait=True)

        thread = threading.Thread(target=make)
        thread.start()
        until(lambda: run.address and all(store.is_committed(job) for job in PREVIEWS))
        yield run, store
        pool.ended.set()
        thread.join()


def test_previews_play_and_a_tick_brings_its_large_video(page: Page, waiting: tuple[Run, Store]):
    run, store = waiting
    page.goto(run.address)
    assert page.locator("video").count() == 2
    playing = (
        "() => [...document.querySelectorAll('video')].every(v => !v.paused && v.loop && v.currentTime > 0)"
    )
    page.wait_for_function(playing, timeout=PATIENCE * 1000)
    page.locator("input").nth(1).check()
    page.get_by_text("1 picked.").wait_for()
    assert read_picks(run.picks, JOBS).keys == {PREVIEWS[1].key}
    until(lambda: store.is_committed(JOBS[3]))
    assert not store.is_committed(JOBS[2])
    page.reload()
    assert page.locator("input").nth(1).is_checked() and not page.locator("input").nth(0).is_checked()
    assert "1 large" in page.locator("label").nth(1).inner_text()


def test_a_sheet_that_is_opened_as_a_file_offers_the_picks(
    page: Page, waiting: tuple[Run, Store], tmp_path: Path
):
    run, store = waiting
    run.write_sheet()
    page.goto((store.root / PAGE).as_uri())
    page.locator("input").nth(0).check()
    with page.expect_download() as download:
        page.get_by_role("button").click()
    saved = tmp_path / "saved.txt"
    download.value.save_as(saved)
    assert read_picks(saved, JOBS).keys == {PREVIEWS[0].key}


def test_ticks_are_sent_one_after_the_other(page: Page, waiting: tuple[Run, Store]):
    run, _ = waiting
    page.goto(run.address)
    # Requests that take long and count how many are under way.
    page.evaluate("""() => {
        window.sent = []; window.under = 0; window.most = 0;
        window.fetch = async (place, request) => {
            window.most = Math.max(window.most, ++window.under);
            await new Promise(done => setTimeout(done, 200));
            window.under--; window.sent.push(JSON.parse(request.body));
            return {ok: true};
        };
    }""")
    for change in ("check", "uncheck", "check"):
        getattr(page.locator("input").nth(0), change)()
    page.wait_for_function("() => window.sent.length === 3", timeout=PATIENCE * 1000)
    assert page.evaluate("window.most") == 1
    assert page.evaluate("window.sent.at(-1)") == [PREVIEWS[0].short]


def test_a_tick_after_the_farm_has_ended_is_told(page: Page, waiting: tuple[Run, Store]):
    run, _ = waiting
    page.goto(run.address)
    page.route("**/picks", lambda route: route.abort())
    page.locator("input").nth(0).check()
    page.get_by_text("Not saved: the farm no longer runs.").wait_for()
    assert read_picks(run.picks, JOBS).keys == set()
