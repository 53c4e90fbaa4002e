"""From recipes to files: which of them a ComfyUI can write, and what stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfyui_runner.installation import ROOT
from templates.canvas import Canvas, as_text
from templates.chain import two_pass
from templates.demo_recipes import DEMO_RECIPES
from templates.notes import note_of
from templates.recipe import Recipe
from templates.recipes import RECIPES

WORKFLOWS = ROOT / "workflows"


def file_of(recipe: Recipe) -> Path:
    return WORKFLOWS / f"{recipe.name}.json"


def content_of(recipe: Recipe, definitions: dict[str, Any]) -> str:
    """definitions: as GET /object_info answers."""
    canvas = Canvas(definitions, recipe.name)
    two_pass(canvas, recipe)
    canvas.note(note_of(recipe))
    return as_text(canvas.workflow())


def recipes_of(definitions: dict[str, Any]) -> list[Recipe]:
    """Those that belong to this ComfyUI: nodes grow, so each file is written by the oldest that has all."""
    every = (*DEMO_RECIPES, *RECIPES)
    return [recipe for recipe in every if (recipe.since > (0, 3)) is is_newer(definitions)]


def is_newer(definitions: dict[str, Any]) -> bool:
    """Whether these are the nodes of a ComfyUI that has the models of the later recipes."""
    return "MiniMaxH3ImageToVideo" in definitions
