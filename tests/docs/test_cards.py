"""The README's table of cards is what the count says, and leads to every workflow."""

from __future__ import annotations

from urllib.parse import unquote

from templates.cards import README, row, table, with_table
from templates.notes import CARDS, FREE_SHARE, card_of, memory_of
from templates.recipes import RECIPES


def test_the_readme_holds_the_table():
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text, "run `python -m templates`"
    assert with_table("before\n<!-- cards -->\nold\n<!-- end -->\nafter") == (
        f"before\n<!-- cards -->\n{table()}<!-- end -->\nafter"
    )


def test_every_workflow_is_linked():
    text = unquote(README.read_text(encoding="utf-8"))
    for file in (README.parent / "workflows").glob("*.json"):
        assert f"(workflows/{file.name})" in text, file.name


def test_the_card_is_that_of_the_note():
    for recipe in RECIPES:
        card = card_of(recipe)
        if card is None:
            assert row(recipe).startswith("| not counted | ")
            continue
        assert f"a card of {card} GB or more" in memory_of(recipe)
        assert row(recipe).startswith(f"| {card} GB | ")
    assert list(CARDS) == sorted(CARDS) and 0 < FREE_SHARE < 1
