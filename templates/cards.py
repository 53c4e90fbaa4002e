"""The README's table: which card makes which video, by the memory that is counted."""

from __future__ import annotations

import re
from urllib.parse import quote

from comfyui_runner.installation import ROOT
from templates.notes import card_of, plain, weights_of
from templates.recipe import Recipe
from templates.recipes import RECIPES

README = ROOT / "README.md"
PLACE = re.compile(r"(<!-- cards -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = (
    "| card | weights | workflow | small, then large | steps, of them large | s |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)


def with_table(text: str) -> str:
    """A document with its table as the recipes are now."""
    return PLACE.sub(lambda found: f"{found[1]}{table()}{found[2]}", text)


def table() -> str:
    """Markdown, small cards first; what is not counted comes last."""
    rows = sorted(RECIPES, key=lambda recipe: (card_of(recipe) or 1000, recipe.name))
    return HEAD + "".join(row(recipe) for recipe in rows)


def row(recipe: Recipe) -> str:
    settings, card = recipe.settings, card_of(recipe)
    # Names of files have spaces.
    link = f"[{recipe.name.split(',')[0]}](workflows/{quote(recipe.name)}.json)"
    sizes = f"{plain(settings.size)}, then {settings.large.width}×{settings.large.height}"
    steps = f"{settings.steps}, {settings.steps_left}"
    needs = f"{card} GB | {weights_of(recipe):.0f} GiB" if card else "not counted | "
    return f"| {needs} | {link} | {sizes} | {steps} | {settings.s:g} |\n"
