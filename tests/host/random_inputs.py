"""Random inputs of the pack's nodes, right and wrong: what their schema and ComfyUI's checks let through."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from hypothesis import strategies as st
from tiny_wan import LATENT, Graph, SeededNoise

NAN = float("nan")
# Large sizes are refused by their memory or take long; both have tests of their own.
SMALL: dict[str, list[Any]] = {
    "width": [0] * 12 + [8, 64, 96, 128, 130],
    "height": [0] * 12 + [8, 64, 96, 128],
    "scale": [2.0] * 8 + [1.0, 1.05, 1.5, NAN],
    "steps": [0, 1, 2, 3],
    "frame_height": [16, 64, 100],
    "resume_every": [0],
    "capture_rows": [0, 1, 16],
}
RIGHT_SHARE = 8  # right inputs to one wrong one: a node has many, and all must be right to go on
UNCONNECTED = object()


def sigmas(graph: Graph) -> list[torch.Tensor]:
    """Schedules, whole and in part, and what is none."""
    whole = graph.sigmas
    wrong = [
        [],
        [1.0],
        [1.0, 0.5, 0.6, 0.0],
        [1.0, NAN, 0.0],
        [14.6, 7.0, 0.0],
        [1.0, 1.0],
        [0.5, -0.1],
        [0.0, 0.0],
    ]
    right = [
        whole,
        whole[-3:],
        whole[-2:],
        whole[:3],
        torch.tensor([1.0, 0.6, 0.0]),
        torch.tensor([0.4, 0.0]),
    ]
    return mostly(right, [*map(torch.tensor, wrong), torch.ones(2, 2)])


def latents(samples: list[torch.Tensor]) -> list[dict[str, Any]]:
    """LATENTs as the model wants them, and of other channels, axes, sizes, dtypes, numbers and masks."""
    right = [{"samples": tensor} for tensor in samples]
    shapes = [
        (1, 4, 3, 8, 8),
        (1, 16, 8, 8),
        (1, 16, 3, 7, 9),
        (2, 16, 3, 8, 8),
        (1, 16, 1, 8, 8),
        (1, 16, 5, 8, 8),
    ]
    shapes += [(0, 16, 3, 8, 8), (1, 16, 0, 8, 8), (1, 16, 3, 0, 8), (16,), (1, 16, 3, 2, 2)]
    wrong = [{"samples": torch.ones(shape)} for shape in shapes]
    wrong += [{"samples": torch.full(LATENT, value)} for value in (NAN, float("inf"))]
    wrong += [{"samples": torch.ones(LATENT).half()}, {"samples": torch.ones(LATENT).double()}]
    masks = [
        torch.zeros(1, 1, 64, 64),
        torch.ones(1, 3, 8, 8),
        torch.full((1, 1, 8, 8), 0.5),
        torch.ones(3, 8, 8),
    ]
    masks += [torch.full((1, 1, 8, 8), NAN), torch.ones(2, 1, 1, 8, 8)]
    masked = [{"samples": torch.rand(LATENT), "noise_mask": mask} for mask in masks]
    return mostly([*right, *masked[:3]], [*wrong, *masked[3:]])


def trajectories(good: Any, plain: Any, unfinished: Any) -> list[Any]:
    """Records of the model, and records that lie about something."""
    replace = dataclasses.replace
    wrong = [
        unfinished,
        replace(good, model=replace(good.model, layers=30)),
        replace(good, model=replace(good.model, latent_format="LTXV")),
        replace(good, denoised=good.denoised * NAN),
        replace(good, noise=good.noise * float("inf")),
        replace(good, final=good.final * NAN),
        replace(
            good,
            reach=replace(good.reach, **{name: values[:2] for name, values in good.reach.tensors.items()}),
        ),
        replace(good, reach=replace(good.reach, error=None, nothing=None)),
        replace(good, reach=replace(good.reach, tail_error=None, tail_nothing=None)),
        replace(good, boundaries=(2,)),
    ]
    return mostly([good, good, good, plain], wrong)


def mostly(right: list[Any], wrong: list[Any]) -> list[Any]:
    return right * max(1, RIGHT_SHARE * len(wrong) // len(right)) + wrong


class Inputs:
    """Strategies for every input of a node, made from its schema and from what a graph would connect."""

    def __init__(self, graph: Graph, prefixes: list[str]):
        latent, good = graph.low_res(sigmas=graph.sigmas, capture_rows=16)
        half, unfinished = graph.low_res(sigmas=graph.sigmas[:4], capture_rows=16)
        large, _, noise = graph.upsample(good)
        windows = graph.windows(good, large, s=0.5)
        other = graph.windows(good, graph.upsample(good, scale=1.5)[0], s=0.9, policy="fixed")
        plain = dataclasses.replace(good, reach=None)
        samples = [latent["samples"], torch.zeros(LATENT), large["samples"], half["samples"]]
        self.connected: dict[str, list[Any]] = {
            "GUIDER": [graph.guider],
            "MODEL": [graph.guider.model_patcher],
            "SIGMAS": sigmas(graph),
            "LATENT": latents(samples),
            "NOISE": [SeededNoise(0), SeededNoise(2**64 - 1), noise],
            "S2FLOW_TRAJECTORY": trajectories(good, plain, unfinished),
            "S2FLOW_WINDOWS": mostly([windows], [other]),
            "VIDEO,IMAGE,LATENT": [latent],
        }
        self.prefixes = prefixes

    def of(self, given: Any) -> st.SearchStrategy[Any] | None:
        """None for a required input that nothing here can be connected to."""
        kind = given.get_io_type()
        if kind in self.connected:
            chosen = st.sampled_from(self.connected[kind])
        elif given.id in SMALL:
            chosen = st.sampled_from(SMALL[given.id])
        elif kind == "INT":
            chosen = st.integers(least := given.min or 0, min(given.max or 9, least + 9))
            chosen = st.one_of(st.just(given.default), chosen) if given.default is not None else chosen
        elif kind == "FLOAT":
            chosen = st.one_of(
                st.just(given.default),
                st.floats(given.min, given.max),
                st.sampled_from([given.min, given.max, NAN]),
            )
        elif kind == "BOOLEAN":
            chosen = st.booleans()
        elif kind == "COMBO":
            chosen = st.sampled_from(given.options or [""])
        elif kind == "STRING":
            chosen = st.one_of(st.sampled_from(self.prefixes), st.text(max_size=12))
        else:
            return st.just(UNCONNECTED) if given.optional else None
        return st.one_of(chosen, st.just(UNCONNECTED)) if given.optional else chosen

    def of_node(self, node: Any) -> st.SearchStrategy[dict[str, Any]] | None:
        """All inputs of a node by name; None where one of them cannot be made here."""
        made = {given.id: self.of(given) for given in node.define_schema().inputs}
        if any(strategy is None for strategy in made.values()):
            return None
        return st.fixed_dictionaries({n: s for n, s in made.items() if s is not None}).map(connected)


def connected(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if value is not UNCONNECTED}
