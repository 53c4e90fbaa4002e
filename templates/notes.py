"""The note of a workflow: what to load, what the settings are, what card it needs, what is not known yet."""

from __future__ import annotations

from benchmarks.pipeline.cost import Plan, memory_parts
from benchmarks.pipeline.models import MODELS
from templates.files import FILES
from templates.recipe import Recipe

GIB = 2**30
# Memory of cards that artists have, in GB.
CARDS = (8, 12, 16, 24, 32, 48, 80, 96, 141)
# Of a card, for the network's largest piece, PyTorch and the display; the rest is for the layer.
FREE_SHARE = 0.8
# Beginnings of what the parts of the count are called.
LAYER, CUT = "device: one layer", "device: or its feed-forward"


def note_of(recipe: Recipe) -> str:
    if recipe.note:
        return recipe.note
    settings = recipe.settings
    of_steps = f"t_i {settings.t_i}" if settings.t_i else f"t_i 0, share {settings.share:g}"
    lines = [
        f"## {recipe.name.split(' ', 1)[1]}",
        "",
        recipe.about,
        "",
        f"- **Sizes**: {plain(settings.size)}, then {plain(settings.large)}, at {settings.fps:g} a second.",
        f"- **Steps**: {settings.steps}, of which {settings.steps_left} run at the large size ({of_steps}). "
        f"**s** {settings.s:g}.",
        f"- **CFG** {settings.cfg:g}" + (f", **shift** {settings.shift:g}." if settings.shift else "."),
    ]
    if settings.why:
        lines.append(f"- Other than in core's template: {settings.why}.")
    lines += [
        f"- **Memory**: {memory_of(recipe)}",
        f"- **Files**: {', '.join(file_of(name) for name in files_of(recipe))}. ComfyUI offers those that "
        "are missing.",
        "",
        "Too close to the small video, too soft: raise **t_i** (or share). Objects change: lower it. Too "
        "slow: lower **s** first. Keep the seed fixed, and only what comes after a slider runs again.",
        "",
        "Tested with tiny checkpoints of this architecture. Not yet run on a GPU.",
    ]
    return "\n".join(lines)


def memory_of(recipe: Recipe) -> str:
    """Counted, as `python -m benchmarks.pipeline` does; weights are moved to the card as there is room."""
    if not recipe.counted:
        return "not counted for this model."
    parts = parts_of(recipe)
    layer, cut = (gib(parts, start) for start in (LAYER, CUT))
    card = card_of(recipe)
    smaller = f", {cut:.1f} with its feed-forward in pieces (by itself)" if cut < layer else ""
    needed = "more than any one card has" if card is None else f"a card of {card} GB or more"
    return (
        f"counted, {layer:.1f} GiB for one layer at the large size{smaller}, so {needed}; weights "
        f"{weights_of(recipe):.1f} GiB "
        f"in bf16 (main memory keeps what does not fit), the record {gib(parts, 'CPU'):.1f} GiB of it."
    )


def card_of(recipe: Recipe) -> int | None:
    """The smallest card, in GB, that a layer fits on; None where none does or nothing is counted."""
    if not recipe.counted:
        return None
    cut = gib(parts_of(recipe), CUT)
    return next((size for size in CARDS if FREE_SHARE * size >= cut), None)


def weights_of(recipe: Recipe) -> float:
    """GiB in bf16 of all its diffusion models, of which Wan 2.2 has two; files in eight bits take half."""
    models = sum(FILES[name]["directory"] == "diffusion_models" for name in recipe.files)
    return max(1, models) * gib(parts_of(recipe), "device: weights")


def parts_of(recipe: Recipe) -> dict[str, float]:
    settings = recipe.settings
    plan = Plan(settings.size, settings.large, settings.steps, settings.steps_left, settings.s)
    return memory_parts(MODELS[recipe.counted], plan)


def gib(parts: dict[str, float], start: str) -> float:
    return sum(size for name, size in parts.items() if name.startswith(start)) / GIB


def plain(size: object) -> str:
    width, height, frames = str(size).split("x")
    return f"{width}×{height}, {frames} frames"


def files_of(recipe: Recipe) -> tuple[str, ...]:
    return (*recipe.files, *(recipe.options or {}).get("loras", ()))


def file_of(name: str) -> str:
    return f"[{name}]({FILES[name]['url']}) in `models/{FILES[name]['directory']}`"
