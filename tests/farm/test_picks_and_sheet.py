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
from farm.sheet import Cards, page_of
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
    assert read_picks(file, JOBS).keys == set()
    file.write_text(text)
    assert read_picks(file, JOBS).keys == picked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"aa\n", "line 1: 2 previews begin with 'aa'"),
        ("# Möwe\naa11\n".encode("latin-1"), "picks.txt is no text in UTF-8"),
        (b"\xff\xfea\x00", "is no text in UTF-8"),
        (None, "picks.txt cannot be read: Is a directory"),
    ],
)
def test_picks_that_cannot_be_read_are_told(tmp_path, text: bytes | None, said: str):
    file = tmp_path / "picks.txt"
    file.mkdir() if text is None else file.write_bytes(text)
    with pytest.raises(Refusal, match=said):
        read_picks(file, JOBS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aa11\naa1122\n", "line 2: no preview begins with 'aa1122'; there is aa11"),
        ("aa11\nbb33\n", "line 2: no preview begins with 'bb33'"),
        ("zz\naa11\n", "line 1: no preview begins with 'zz'"),
    ],
)
def test_a_pick_of_another_manifest_is_passed_over_with_a_sentence(tmp_path, text: str, said: str):
    file = tmp_path / "picks.txt"
    file.write_text(text)
    picks = read_picks(file, JOBS)
    assert picks.keys == {FIRST.key}
    assert len(picks.passed) == 1 and said in picks.passed[0] and "passed over" in picks.passed[0]


def test_the_mark_that_editors_of_windows_write_belongs_to_no_line(tmp_path):
    file = tmp_path / "picks.txt"
    file.write_text("aa11\r\n", encoding="utf-8-sig")
    assert read_picks(file, JOBS).keys == {FIRST.key}


@pytest.mark.parametrize("picked", [set(), {FIRST.key}, {FIRST.key, SECOND.key}])
def test_picks_that_are_written_are_read_back(tmp_path, picked: set[str]):
    file = tmp_path / "picks.txt"
    write_picks(file, picked, JOBS)
    assert read_picks(file, JOBS).keys == picked
    write_picks(file, {key[:12] for key in picked} | {"", "zz"}, JOBS)
    assert read_picks(file, JOBS).keys == picked


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
    page = page_of(Cards(store, JOBS).now(), {FIRST.key})
    assert f'<video src="results/preview/{FIRST.key}/clip%20%231.mp4" autoplay loop muted' in page
    assert "&lt;b&gt;cat" in page and "<b>cat" not in page
    assert "Node #3 failed: &lt;no file&gt;" in page
    assert page.count(" checked") == 1 and page.count(" disabled") == 1
    assert "1 of 2 previews." in page


def test_what_a_result_shows_is_read_once(store, monkeypatch):
    read = []
    facts = store.facts
    monkeypatch.setattr(store, "facts", lambda job: read.append(job.key) or facts(job))
    cards = Cards(store, JOBS)
    assert cards.now() == cards.now() == Cards(store, JOBS).now()
    assert read == [FIRST.key] * 2, "once for each Cards"
    folder = store.work_folder(LAST, 1)
    folder.mkdir()
    store.commit(LAST, folder)
    assert [card.large for card in cards.now()] == [1, 0]


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
