"""Picks and the contact sheet: what a page shows, what a tick writes, and who may write."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from farm.jobs import LARGE, PREVIEW, Job
from farm.picks import read_picks, write_picks
from farm.refusal import Refusal
from farm.sheet import cards_of, page_of
from farm.sheet_server import SheetServer
from farm.store import opened_store

FIRST = Job(PREVIEW, "aa11" * 16, "seed=1, <b>cat</b>\n# all")
SECOND = Job(PREVIEW, "aa22" * 16, "seed=2")
LAST = Job(LARGE, "bb33" * 16, "seed=1", needs=FIRST.key)
JOBS = [FIRST, SECOND, LAST]


@pytest.mark.parametrize(
    ("text", "picked"),
    [
        ("", set()),
        ("# nothing\n\n", set()),
        (f"{FIRST.short}  # a cat\n", {FIRST.key}),
        (f"{FIRST.key.upper()}\r\naa22\n", {FIRST.key, SECOND.key}),
        ("ALL\n", {FIRST.key, SECOND.key}),
    ],
)
def test_picks_are_read(tmp_path, text: str, picked: set[str]):
    file = tmp_path / "picks.txt"
    assert read_picks(file, JOBS) == set()
    file.write_text(text)
    assert read_picks(file, JOBS) == picked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aa\n", "line 1: 2 previews begin with 'aa'"),
        ("\naa1122\n", "line 2: no preview begins with 'aa1122'; there is aa11"),
        ("bb33\n", "no preview begins with 'bb33'"),
    ],
)
def test_a_wrong_pick_is_told(tmp_path, text: str, said: str):
    file = tmp_path / "picks.txt"
    file.write_text(text)
    with pytest.raises(Refusal, match=said):
        read_picks(file, JOBS)


@pytest.mark.parametrize("picked", [set(), {FIRST.key}, {FIRST.key, SECOND.key}])
def test_picks_that_are_written_are_read_back(tmp_path, picked: set[str]):
    file = tmp_path / "picks.txt"
    write_picks(file, picked, JOBS)
    assert read_picks(file, JOBS) == picked
    write_picks(file, {key[:12] for key in picked} | {"", "zz"}, JOBS)
    assert read_picks(file, JOBS) == picked


@pytest.fixture
def store(tmp_path: Path):
    with opened_store(tmp_path) as opened:
        folder = opened.work_folder(FIRST, 1)
        folder.mkdir()
        (folder / "clip #1.mp4").write_bytes(b"video")
        (folder / "result.json").write_text(json.dumps({"files": ["trajectory.x", "clip #1.mp4"]}))
        opened.commit(FIRST, folder)
        opened.fail(SECOND, "Node #3 failed: <no file>")
        yield opened


def test_the_page_shows_previews_in_a_loop_and_escapes_names(store):
    page = page_of(cards_of(store, JOBS), {FIRST.key})
    assert f'<video src="results/preview/{FIRST.key}/clip%20%231.mp4" autoplay loop muted' in page
    assert "&lt;b&gt;cat" in page and "<b>cat" not in page
    assert "Node #3 failed: &lt;no file&gt;" in page
    assert page.count(" checked") == 1 and page.count(" disabled") == 1
    assert "1 of 2 previews." in page


def answer(address: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(address, data, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_only_the_page_of_this_server_ticks_and_only_previews_are_shown(store):
    taken: list[list[str]] = []
    with SheetServer(store.root, lambda token: f"page {token}", taken.append) as server:
        status, page = answer(server.address)
        assert (status, page) == (200, f"page {server.token}".encode())
        video = f"{server.address}results/preview/{FIRST.key}/clip%20%231.mp4"
        assert answer(video) == (200, b"video")
        picks, token = f"{server.address}picks", server.token
        assert answer(picks, b'["aa11"]', X_Token=token)[0] == 200
        assert taken == [["aa11"]]
        for path in (
            "token",
            "results/preview/../../token",
            "results/preview/",
            "results/preview/%2e%2e/%2e%2e/token",
        ):
            assert answer(server.address + path)[0] in (403, 404), path
        assert answer(picks, b'["aa11"]', X_Token="other")[0] == 403
        assert answer(picks, b'["aa11"]')[0] == 403
        assert answer(picks, b'["aa11"]', X_Token=token, Host="evil.example")[0] == 403
        assert answer(server.address, Host="evil.example")[0] == 403
        assert answer(picks, b"{}", X_Token=token)[0] == 400
        assert answer(picks, b"nothing", X_Token=token)[0] == 400
        assert answer(f"{server.address}other", b"[]", X_Token=token)[0] == 400
    assert taken == [["aa11"]]
