"""Reads a workflow as the browser saves it or in API form, and gives its prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from comfyui_runner.workflow_api import UnknownNode, to_api

from .addresses import Json
from .refusal import Refusal
from .store import told, write_whole

HINT = (
    "If another pack has it, name that pack's folder in the manifest, as in  custom_nodes: [ComfyUI-GGUF]; "
    "the farm loads no others."
)


def prompt_of(file: Path, kept: Path, versions: str, object_info: Callable[[], Json]) -> Json:
    """The prompt of a workflow file, in API form.

    A saved workflow is translated with what a ComfyUI says about its nodes, once for these versions: kept is
    the folder where the translation stays. object_info: asks a ComfyUI. Raises Refusal for a file that is no
    workflow.
    """
    text = file.read_bytes()
    try:
        content = json.loads(text)
    except ValueError as problem:
        raise Refusal(f"{file.name} is no workflow: it is no JSON ({problem}).") from problem
    if is_api(content):
        return content
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        raise Refusal(f"{file.name} is no workflow: save it in ComfyUI, or export it with Export (API).")
    digest = hashlib.sha256(text + b"\0" + versions.encode()).hexdigest()
    translation = kept / f"{digest}.json"
    if translation.exists():
        return json.loads(translation.read_text(encoding="utf-8"))
    try:
        prompt = to_api(content, object_info())
    except UnknownNode as problem:
        raise Refusal(f"{file.name}: {problem} {HINT}") from problem
    except (ValueError, KeyError) as problem:
        raise Refusal(f"{file.name}: {problem}") from problem
    with told(kept):
        kept.mkdir(parents=True, exist_ok=True)
        write_whole(translation, json.dumps(prompt, ensure_ascii=False))
    return prompt


def is_api(content: object) -> bool:
    """Whether this is node id -> class and inputs."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(
            isinstance(node, dict)
            and isinstance(node.get("class_type"), str)
            and isinstance(node.get("inputs"), dict)
            for node in content.values()
        )
    )


def unknown_nodes(prompt: Json, known: Json) -> str:
    """A sentence about the classes that a ComfyUI lacks; "" where it has all. known: its object_info."""
    missing = sorted({node["class_type"] for node in prompt.values()} - known.keys())
    return f"This ComfyUI has no node {' or '.join(missing)}. {HINT}" if missing else ""
