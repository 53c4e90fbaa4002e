"""A node's place in a prompt: what it is made from, and who waits for it. Pure functions of the prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeGuard

# They change neither the video nor the run; what was kept before they were moved still fits.
NEUTRAL = frozenset({"resume_every", "backend", "feed_forward_chunks", "gpus"})

Prompt = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """One node of a prompt. prompt: ComfyUI's, node id -> class_type and inputs."""

    prompt: Prompt
    node: str

    @property
    def kind(self) -> str:
        return self.prompt[self.node].get("class_type", "")

    @property
    def inputs(self) -> dict[str, Any]:
        return self.prompt[self.node].get("inputs", {})

    def parents(self) -> Iterator[tuple[str, Place, int]]:
        """(input, node, output) of every link that leads here."""
        for name, value in sorted(self.inputs.items()):
            if is_link(value) and value[0] in self.prompt:
                yield name, Place(self.prompt, value[0]), value[1]

    def ancestors(self) -> list[Place]:
        """Everything that this node is made from, itself left out."""
        found: dict[str, Place] = {}
        waiting: list[Place] = [self]
        while waiting:
            for _, parent, _ in waiting.pop().parents():
                if parent.node not in found:
                    found[parent.node] = parent
                    waiting.append(parent)
        return list(found.values())

    def descendants(self) -> list[Place]:
        """Everything that is made from this node, itself left out."""
        others = (Place(self.prompt, node) for node in self.prompt if node != self.node)
        return [other for other in others if any(one.node == self.node for one in other.ancestors())]

    def values(self) -> dict[str, Any]:
        """The inputs that are no links, without those that change nothing."""
        return {k: v for k, v in self.inputs.items() if not is_link(v) and k not in NEUTRAL}

    def digest(self) -> str:
        """The same for the same node made from the same inputs, whatever its number on the canvas."""
        return digest_of(self, {})


def place_of(hidden: Any) -> Place | None:
    """Where the node stands; None where ComfyUI does not tell, as for nodes that other nodes make."""
    prompt, node = getattr(hidden, "prompt", None), getattr(hidden, "unique_id", None)
    return Place(prompt, str(node)) if prompt and str(node) in prompt else None


def is_link(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def digest_of(place: Place, known: dict[str, str]) -> str:
    """known: digests of nodes met so far."""
    if place.node not in known:
        known[place.node] = "in a circle"  # ComfyUI refuses such a prompt; here it only must not hang
        links = [(name, digest_of(parent, known), slot) for name, parent, slot in place.parents()]
        text = json.dumps([place.kind, sorted(place.values().items()), links], default=repr)
        known[place.node] = sha256(text.encode()).hexdigest()
    return known[place.node]
