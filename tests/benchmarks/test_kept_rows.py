"""Kept rows: a stopped benchmark goes on, and two processes share one file."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.common.kept_rows import KeptRows, share_of
from benchmarks.common.tables import where


def test_a_finished_seed_is_not_run_again(tmp_path):
    file = tmp_path / "work" / "rows.jsonl"
    KeptRows(file).measure("windows", range(2), lambda index: {"dense": {"error": float(index)}})
    asked = []

    def rows_of(index):
        asked.append(index)
        return {"dense": {"error": 10.0 * index}}

    later = KeptRows(file)
    later.measure("windows", range(4), rows_of)
    assert asked == [2, 3]
    assert [rows["dense"]["error"] for rows in KeptRows(file).of("windows").values()] == [0, 1, 20, 30]
    assert later.of("orders") == {}


def test_what_was_finished_before_an_error_stays(tmp_path):
    def rows_of(index):
        if index == 1:
            raise KeyboardInterrupt
        return {"dense": {"error": 1.0}}

    with pytest.raises(KeyboardInterrupt):
        KeptRows(tmp_path / "rows.jsonl").measure("windows", range(3), rows_of)
    assert list(KeptRows(tmp_path / "rows.jsonl").of("windows")) == [0]


def test_rows_of_two_shares_come_in_the_order_of_the_seeds(tmp_path):
    for share in ("1/2", "0/2"):
        indices = share_of(5, argparse.Namespace(share=share))
        KeptRows(tmp_path / "rows.jsonl").measure("clip", indices, lambda index: {"run": {"n": float(index)}})
    assert list(KeptRows(tmp_path / "rows.jsonl").of("clip")) == [0, 1, 2, 3, 4]


def test_a_table_names_the_devices_that_its_rows_were_measured_on(tmp_path):
    file = tmp_path / "rows.jsonl"
    there, here = KeptRows(file), KeptRows(file)
    there.device = "cuda: a card"
    for kept, index in ((there, 0), (here, 1)):
        kept.measure("clip", [index], lambda index: {"run": {"n": float(index)}})
    table = where("cpu", KeptRows(file))
    assert table.rows[0][table.columns.index("device")] == f"cuda: a card, {here.device}"
    assert not table.note
    assert where().rows[0][0] == here.device
    assert "No GPU" in where().note


def test_a_table_names_the_days_on_which_its_rows_were_measured(tmp_path, monkeypatch):
    file = tmp_path / "rows.jsonl"
    days = iter(("2026-11-26", "2026-11-27"))
    monkeypatch.setattr("benchmarks.common.kept_rows.today", lambda: next(days))
    for index in (0, 1):
        KeptRows(file).measure("clip", [index], lambda index: {"run": {"n": float(index)}})
        expected = "2026-11-26 to 2026-11-27" if index else "2026-11-26"
        table = where("cpu", KeptRows(file))
        assert table.rows[0][table.columns.index("date")] == expected


@pytest.mark.parametrize("share", ["2/2", "-1/2", "half", "1"])
def test_a_share_that_is_none_says_how_to_give_one(share):
    with pytest.raises(SystemExit, match=f"--share {share}: give I/N"):
        share_of(4, argparse.Namespace(share=share))
