"""Every figure in the documents' tables is one that a command measured and kept."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.report import DOCUMENTS, PLACE, TABLES, columns_of, filled, main, origin, shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_kept_results(document):
    text = document.read_text(encoding="utf-8")
    assert PLACE.findall(text), f"no table of results was found in {document.name}"
    assert filled(text) == text, "run python -m benchmarks.report"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_marked_table_is_known(document):
    text = document.read_text(encoding="utf-8")
    assert {name for _, name, _ in PLACE.findall(text)} <= set(TABLES)


def test_every_table_stands_among_the_results():
    text = next(path for path in DOCUMENTS if path.name == "results.md").read_text(encoding="utf-8")
    assert {name for _, name, _ in PLACE.findall(text)} == set(TABLES)


def test_a_changed_figure_is_noticed_and_mended(tmp_path, monkeypatch, capsys):
    document = tmp_path / "page.md"
    monkeypatch.setattr(report, "DOCUMENTS", (document,))
    before = "Words.\n\n<!-- results: solver -->\n<!-- end -->\n\n12 more words.\n"
    document.write_text(before, encoding="utf-8")
    assert main([]) == 0
    right = document.read_text(encoding="utf-8")
    assert right.startswith("Words.\n\n<!-- results: solver -->\n| method |")
    assert right.endswith("<!-- end -->\n\n12 more words.\n")
    assert main(["--check"]) == 0
    document.write_text(right.replace("| Euler | .", "| Euler | .9"), encoding="utf-8")
    assert main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().out
    assert "| Euler | .9" in document.read_text(encoding="utf-8"), "--check must write nothing"
    assert main([]) == 0
    assert document.read_text(encoding="utf-8") == right


def test_device_and_date_come_from_the_results_file(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    facts = {"device": "cpu: Some CPU", "threads": "3", "torch": "2.9", "date": "2030-01-02"}
    where = {"title": "Where", "columns": list(facts), "rows": [list(facts.values())], "note": ""}
    for name, content in (
        ("table", {"tables": [where]}),
        ("beside", {"where": facts}),
        ("without", {"tables": []}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    told = "cpu: Some CPU, 3 threads, torch 2.9, 2030-01-02."
    assert origin("table") == f"`benchmarks/results/table.json`: {told}"
    assert origin("beside") == f"`benchmarks/results/beside.json`: {told}"
    assert origin("without") == "`benchmarks/results/without.json`; device and date were not kept."


def test_numbers_keep_three_digits():
    assert [shown(cell) for cell in (0.0239, 12.0, 3.936, 1451.2, 0.00012, "a", 1)] == [
        ".0239", "12", "3.94", "1451", "1.2e-04", "a", "1",
    ]  # fmt: skip


def test_rows_and_columns_are_chosen_by_name():
    table = {"columns": ["a", "b", "c"], "rows": [["x", 1, 2], ["y", 3, 4]], "note": "Two rows."}
    assert columns_of(table, {"c": "last", "a": "first"}, ["y"]) == (
        "| last | first |\n| --- | --- |\n| 4 | y |\n\nTwo rows.\n"
    )
