"""What the graph will ask of a run's record, looked up before the run spends its time."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any

from ...s2flow_core.plan.policies import BY_ERROR, DEFAULT_POLICY
from ...s2flow_core.transition.upsample import check_steps_left
from .attention.for_low_res import CaptureSettings
from .prompt_graph import Place, is_link, place_of

log = logging.getLogger(__name__)

RECORDERS = frozenset({"S2FlowLowResSampler", "S2FlowHighResSampler"})
TAKER, CHOOSER = "S2FlowUpsample", "S2FlowWindowMask"
# Core's node that holds one whole number, which several inputs can share.
NUMBER = "PrimitiveInt"
GATE = "S2FlowPreviewGate"
NO_ATTENTION_SEEN = (
    "S²Flow cannot see the attention of this model, so there is nothing to choose windows from. Mute S²Flow "
    "Window Mask and leave windows of the High-Res Sampler empty; all else works."
)


def require_steps_ahead(hidden: Any, steps: int) -> None:
    """Raises if an S²Flow Upsample wants more steps than the record of this sampler will hold.

    hidden: of the sampler, with ComfyUI's prompt and unique_id; steps: its own and those that it continues.
    What comes to t_i by a link is known only from PrimitiveInt.
    """
    for taker in takers(hidden, TAKER):
        t_i = whole_number(taker, "t_i")
        if not t_i:
            continue
        try:
            check_steps_left(steps, t_i)
        except ValueError as reason:
            raise ValueError(f"{reason} An Upsample that is not to run now can be muted.") from None


def warn_of_missing_attention(hidden: Any, capture: CaptureSettings) -> None:
    """Says in the log that a Window Mask is to choose windows from attention that this small run leaves out.

    It does not raise: a run of selected nodes, or a switch, may never come to that Window Mask.
    """
    for chooser in takers(hidden, CHOOSER):
        missing = missing_for(chooser, capture)
        if missing:
            log.warning("%s Window Mask will end with an error where this run comes to it.", missing)
            return


def missing_for(chooser: Place, capture: CaptureSettings) -> str:
    """What a Window Mask lacks, as a sentence; empty where nothing is."""
    if not capture.layers:
        return NO_ATTENTION_SEEN
    if not capture.rows:
        return (
            "capture_rows is 0, and S²Flow Window Mask chooses windows from the attention that it measures. "
            "Set it above 0 (256), or mute Window Mask: without windows attention is dense."
        )
    policy = chooser.inputs.get("policy", DEFAULT_POLICY)
    if policy in BY_ERROR and not capture.with_error:
        return (
            f"capture_error is off, and the policy '{policy}' of S²Flow Window Mask needs it. Switch it on, "
            "or choose the policy 'paper' or 'budget'."
        )
    return ""


def takers(hidden: Any, kind: str) -> Iterator[Place]:
    """The nodes of a kind that take the record of this sampler and will run."""
    place = place_of(hidden)
    if place is None:
        return
    for node in place.prompt:
        taker = Place(place.prompt, node)
        if taker.kind == kind and record_of(taker) == place and will_run(taker):
            yield taker


def feeds(place: Place, output: int) -> bool:
    """Whether anything that will run is connected to this output."""
    others = (Place(place.prompt, node) for node in place.prompt)
    return any(
        parent.node == place.node and slot == output and will_run(other)
        for other in others
        for _, parent, slot in other.parents()
    )


def will_run(place: Place) -> bool:
    """Whether ComfyUI has a reason to run a node: it, or something behind it, shows or saves something.

    What stands behind a closed Preview Gate does not count.
    """
    return any(shows_something(one.kind) and reaches(one, place) for one in (place, *place.descendants()))


def reaches(end: Place, place: Place) -> bool:
    """Whether a node is made from another one, on a way without a closed Preview Gate."""
    seen: set[str] = set()
    waiting = [end]
    while waiting:
        one = waiting.pop()
        if one.node == place.node:
            return True
        if one.node in seen or (one.kind == GATE and one.inputs.get("go") is False):
            continue
        seen.add(one.node)
        waiting += [parent for _, parent, _ in one.parents()]
    return False


def shows_something(kind: str) -> bool:
    mappings = importlib.import_module("nodes").NODE_CLASS_MAPPINGS  # ComfyUI's, not this pack's folder
    return bool(getattr(mappings.get(kind), "OUTPUT_NODE", False))


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
