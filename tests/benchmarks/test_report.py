"""Every figure in the README's tables is one that a command measured and kept."""

from __future__ import annotations

from benchmarks.report import PLACE, ROOT, TABLES, columns_of, filled, shown


def test_tables_are_those_of_the_kept_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert PLACE.findall(text), "no table of results was found in the README"
    assert filled(text) == text, "run python -m benchmarks.report"


def test_every_marked_table_is_known():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for _, name, _ in PLACE.findall(text)} <= set(TABLES)


def test_numbers_keep_three_digits():
    assert [shown(cell) for cell in (0.0239, 12.0, 3.936, 1451.2, 0.00012, "a", 1)] == [
        ".0239", "12", "3.94", "1451", "1.2e-04", "a", "1",
    ]  # fmt: skip


def test_rows_and_columns_are_chosen_by_name():
    table = {"columns": ["a", "b", "c"], "rows": [["x", 1, 2], ["y", 3, 4]], "note": "Two rows."}
    assert columns_of(table, {"c": "last", "a": "first"}, ["y"]) == (
        "| last | first |\n| --- | --- |\n| 4 | y |\n\nTwo rows.\n"
    )
