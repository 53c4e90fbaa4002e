"""What the graph will ask of a run's record, looked up before the run spends its time."""

from __future__ import annotations

from typing import Any

from ...s2flow_core.transition.upsample import check_steps_left
from .prompt_graph import Place, is_link, place_of

RECORDERS = frozenset({"S2FlowLowResSampler", "S2FlowHighResSampler"})
TAKER = "S2FlowUpsample"
# Core's node that holds one whole number, which several inputs can share.
NUMBER = "PrimitiveInt"


def require_steps_ahead(hidden: Any, steps: int) -> None:
    """Raises if an S²Flow Upsample wants more steps than the record of this sampler will hold.

    hidden: of the sampler, with ComfyUI's prompt and unique_id; steps: its own and those that it continues.
    What comes to t_i by a link is known only from PrimitiveInt. An Upsample that leads nowhere never runs.
    """
    place = place_of(hidden)
    if place is None:
        return
    for taker in (Place(place.prompt, node) for node in place.prompt):
        if taker.kind != TAKER or record_of(taker) != place or not taker.descendants():
            continue
        t_i = whole_number(taker, "t_i")
        if t_i:
            check_steps_left(steps, t_i)


def record_of(place: Place) -> Place | None:
    """The sampler whose record a node takes, also through nodes that hand it on; None if a file."""
    seen: set[str] = set()
    while place.node not in seen:
        seen.add(place.node)
        source = next((parent for name, parent, _ in place.parents() if name == "trajectory"), None)
        if source is None or source.kind in RECORDERS:
            return source
        place = source
    return None


def whole_number(place: Place, name: str) -> int | None:
    """The value of an input as far as the graph tells."""
    value = place.inputs.get(name)
    if is_link(value):
        source = place.prompt.get(value[0], {})
        value = source.get("inputs", {}).get("value") if source.get("class_type") == NUMBER else None
    return value if isinstance(value, int) else None
