"""The last lines of the demo: what was made, and what it took; "not reported" where a figure is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from comfyui_runner.client import Run

from .progress import RunProgress
from .video_files import read_facts

STAGES = {
    "low resolution": ("S2FlowLowResSampler",),
    "upsampling": ("S2FlowUpsample",),
    "high resolution": ("S2FlowHighResSampler",),
    "decoding": ("VAEDecode", "VAEDecodeTiled"),
}
DENSITY = re.compile(r"looks at (\d+(?:\.\d+)?) ?%")
NOT_TOLD = "not reported"


def nodes_of(prompt: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    return [key for key, node in prompt.items() if node["class_type"] in classes]


def steps_line(prompt: dict[str, Any], progress: RunProgress) -> str:
    parts = []
    for stage in ("low resolution", "high resolution"):
        steps = [progress.steps[key] for key in nodes_of(prompt, STAGES[stage]) if key in progress.steps]
        parts.append(f"{sum(steps) if steps else NOT_TOLD} at {stage}")
    return f"Steps: {', '.join(parts)}"


def seconds_line(prompt: dict[str, Any], progress: RunProgress) -> str:
    parts = []
    for stage, classes in STAGES.items():
        taken = [progress.seconds[key] for key in nodes_of(prompt, classes) if key in progress.seconds]
        parts.append(f"{stage} {f'{sum(taken):.1f}' if taken else NOT_TOLD}")
    return f"Seconds: {', '.join(parts)}"


def density_line(prompt: dict[str, Any], run: Run) -> str:
    """Takes the density from the text of the Window Mask node, which says what was really achieved."""
    for key in nodes_of(prompt, ("S2FlowWindowMask",)):
        for text in run.outputs.get(key, {}).get("text", []):
            found = DENSITY.search(text)
            if found:
                return f"Attention density achieved: {found[1]} %"
    return f"Attention density achieved: {NOT_TOLD}"


def report_lines(
    prompt: dict[str, Any], run: Run, progress: RunProgress, videos: dict[str, Path]
) -> list[str]:
    """videos: what to call each file, and where it lies."""
    longest = max(map(len, videos))
    lines = [f"{name:<{longest}}  {path}  ({read_facts(path)})" for name, path in videos.items()]
    return [*lines, steps_line(prompt, progress), density_line(prompt, run), seconds_line(prompt, progress)]
