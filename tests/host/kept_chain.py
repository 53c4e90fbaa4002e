"""A small run and its large run as ComfyUI executes them, each node knowing its place in the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tiny_wan import Graph
from torch import Tensor

LOW, UPSAMPLE, WINDOWS, HIGH, SAVE = "1", "2", "3", "4", "5"


def prompt_of(every: int, seed: int = 3, high_every: int | None = None) -> dict[str, Any]:
    """As ComfyUI holds it; of values only what tells runs apart."""
    high = every if high_every is None else high_every
    return {
        LOW: node("S2FlowLowResSampler", seed=seed, resume_every=every),
        UPSAMPLE: node("S2FlowUpsample", trajectory=[LOW, 1], t_i=3),
        WINDOWS: node("S2FlowWindowMask", trajectory=[LOW, 1], latent=[UPSAMPLE, 0], s=0.5),
        HIGH: node(
            "S2FlowHighResSampler",
            latent_image=[UPSAMPLE, 0],
            windows=[WINDOWS, 0],
            trajectory=[LOW, 1],
            resume_every=high,
        ),
        SAVE: node("SaveLatent", samples=[HIGH, 0]),
    }


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


@dataclass(frozen=True)
class Chain:
    """graph: of the model. prompt: where its nodes stand."""

    graph: Graph
    prompt: dict[str, Any]

    def run(self, number: str, **inputs: Any) -> tuple[Any, ...]:
        from comfy_api.latest import io

        place = self.prompt[number]
        kind = self.graph.modules.node(place["class_type"])
        hidden: dict[Any, Any] = {io.Hidden.prompt: self.prompt, io.Hidden.unique_id: number}
        # Earlier versions take them as they are, later ones under a name.
        kind = kind.PREPARE_CLASS_CLONE(hidden | {"hidden_inputs": hidden})
        every = place["inputs"].get("resume_every")
        return kind.execute(**inputs, **({} if every is None else {"resume_every": every})).args

    def low(self, **changes: Any) -> tuple[Any, Any]:
        from tiny_wan import LATENT, SeededNoise

        given = {
            "noise": SeededNoise(self.prompt[LOW]["inputs"]["seed"]),
            "guider": self.graph.guider,
            "sigmas": self.graph.sigmas,
            "latent_image": {"samples": torch.zeros(LATENT)},
        }
        latent, trajectory = self.run(LOW, **given | changes)
        return latent, trajectory

    def high(self, trajectory: Any, **changes: Any) -> Tensor:
        latent, sigmas, noise = self.graph.upsample(trajectory)
        given = {
            "noise": noise,
            "guider": self.graph.guider,
            "sigmas": sigmas,
            "latent_image": latent,
            "trajectory": trajectory,
            "windows": self.graph.windows(trajectory, latent, s=0.5),
            "backend": "torch_boxes",
            "order": 3,
        }
        return self.run(HIGH, **given | changes)[0]["samples"]


def unbroken_chain(graph: Graph) -> tuple[Tensor, Any, Tensor]:
    """Small video, its trajectory and the large video of a chain that nothing stops and nobody keeps."""
    chain = Chain(graph, prompt_of(every=0))
    latent, trajectory = chain.low()
    return latent["samples"], trajectory, chain.high(trajectory)


def same_trajectory(a: Any, b: Any) -> None:
    """Fails unless both hold the same bits."""
    for name in ("sigmas", "denoised", "noise", "final"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.reach.tensors.keys() == b.reach.tensors.keys()
    assert all(torch.equal(values, b.reach.tensors[name]) for name, values in a.reach.tensors.items())
