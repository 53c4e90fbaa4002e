"""Cuts a workflow in two: the preview with its trajectory, and the large video that starts from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .addresses import PREFIX, Json, is_link, titles
from .refusal import Refusal

LOW = "S2FlowLowResSampler"
SAVE, LOAD = "S2FlowSaveTrajectory", "S2FlowLoadTrajectory"
GATE = "S2FlowPreviewGate"
# With these the expensive part begins, unless they stand before the small run.
LATE = {
    "S2FlowUpsample",
    "S2FlowWindowMask",
    "S2FlowHighResSampler",
    "S2FlowRefinerSampler",
    "S2FlowApplyWindows",
    "S2FlowNoiseReshift",
    GATE,
}
TRAJECTORY_PREFIX = "farm_trajectory"


@dataclass(frozen=True)
class Stages:
    """The two prompts of one clip. low: id of the Low-Res Sampler; in `large` it loads what it made."""

    preview: Json
    large: Json
    low: str


def cut(prompt: Json) -> Stages:
    """Both stages of a prompt in API form; raises Refusal for workflows that cannot be cut."""
    low = only_low(prompt)
    before = upstream([low], prompt)
    require_one_video(before, prompt)
    late = late_nodes(before, prompt)
    used = {source for node in prompt for source in sources(node, prompt)}
    shown = [key for key in prompt if key not in used | late and prompt[key]["class_type"] != SAVE]
    made = [key for key in late if key not in used]
    if not shown:
        raise Refusal(
            "The workflow shows no preview: add VAE Decode and Save Video after the Low-Res Sampler."
        )
    if not made:
        raise Refusal("The workflow makes no large video: nothing follows Upsample or the Refiner Sampler.")
    preview = {key: prompt[key] for key in prompt if key in upstream([low, *shown], prompt)}
    large = large_prompt(made, low, prompt)
    require_saved(preview, "preview", prompt)
    require_saved({key: large[key] for key in large if key in late}, "large video", prompt)
    inputs = {"trajectory": [low, 1], PREFIX: TRAJECTORY_PREFIX}
    preview[unused_id(prompt)] = {"class_type": SAVE, "inputs": inputs, "_meta": {"title": "Trajectory"}}
    return Stages(preview, large, low)


def require_saved(part: Json, what: str, prompt: Json) -> None:
    """Raises Refusal unless a node saves something to look at, where the farm tells it to."""
    saving = [key for key, node in part.items() if PREFIX in node["inputs"] and saves(node)]
    for key in saving:
        if is_link(part[key]["inputs"][PREFIX]):
            raise Refusal(
                f"{PREFIX} of #{key} ({titles(prompt)[key]}) comes by a link. Write it in the node: the farm "
                "gives each clip a folder of its own there."
            )
    if all(part[key]["class_type"] == SAVE for key in saving):
        raise Refusal(
            f"The workflow saves no {what}, so it could not be shown. Add Save Video: nodes that only "
            "preview leave no file."
        )


def saves(node: Json) -> bool:
    """Whether a node that could save is told to; Compare and nodes of other packs may only show."""
    return all(node["inputs"].get(switch, True) is not False for switch in ("save", "save_output"))


def large_prompt(made: Iterable[str], low: str, prompt: Json) -> Json:
    """What leads to the large videos, from a trajectory that was saved, with every gate open."""
    loaded = {"class_type": LOAD, "inputs": {"file": ""}, "_meta": {"title": "Trajectory"}}
    changed = prompt | {low: loaded}
    kept = upstream(made, changed)
    return {key: opened(changed[key]) for key in changed if key in kept}


def opened(node: Json) -> Json:
    return node | {"inputs": node["inputs"] | {"go": True}} if node["class_type"] == GATE else node


def only_low(prompt: Json) -> str:
    lows = [key for key, node in prompt.items() if node["class_type"] == LOW]
    if not lows:
        raise Refusal(f"The workflow has no S²Flow Low-Res Sampler ({LOW}), so there is no preview to pick.")
    if len(lows) > 1:
        named = ", ".join(f"#{key} ({titles(prompt)[key]})" for key in lows)
        raise Refusal(
            f"The workflow has {len(lows)} Low-Res Samplers: {named}. Keep one, and make the others' clips "
            "rows of the table."
        )
    return lows[0]


def require_one_video(before: set[str], prompt: Json) -> None:
    """Raises Refusal for a batch: its videos could not be picked one by one."""
    for key in sorted(before):
        size = prompt[key]["inputs"].get("batch_size", 1)
        if isinstance(size, int | float) and size > 1:
            raise Refusal(
                f"batch_size of #{key} ({titles(prompt)[key]}) is {size}. Set it to 1 and make a table of "
                "seeds: each video is then picked by itself."
            )


def late_nodes(before: set[str], prompt: Json) -> set[str]:
    """Where the expensive part begins, and everything that takes something from it."""
    late = {key for key, node in prompt.items() if node["class_type"] in LATE and key not in before}
    while True:
        more = {key for key in prompt if key not in late | before and late.intersection(sources(key, prompt))}
        if not more:
            return late
        late |= more


def sources(key: str, prompt: Json) -> set[str]:
    """Ids of the nodes that a node takes something from."""
    return {str(value[0]) for value in prompt[key]["inputs"].values() if is_link(value) and value}


def upstream(roots: Iterable[str], prompt: Json) -> set[str]:
    """Nodes and all that they are made from; raises Refusal for a link from a node that is missing."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        if key not in prompt:
            raise Refusal(f"The workflow has a link from node #{key}, which is missing. Save it again.")
        found.add(key)
        waiting += sources(key, prompt)
    return found


def unused_id(prompt: Json) -> str:
    """A number, as some versions of ComfyUI want it."""
    return str(1 + max([int(key) for key in prompt if key.isdecimal()], default=0))
