"""A Wan model with ComfyUI's own architecture and small random weights, and graphs of our nodes on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LAYERS = 2
LATENT = (1, 16, 3, 8, 8)  # 3x4x4 tokens at LR, 3x8x8 at twice the size
STEPS = 6


def random_wan_weights(pack: Any, **changes: object) -> dict[str, Tensor]:
    """State dict of a Wan 2.1 text-to-video DiT whose attention is not uniform."""
    torch.manual_seed(0)
    model = pack("training.wan").new_dit(num_layers=LAYERS, ffn_dim=256, **changes)
    torch.nn.init.normal_(model.head.head.weight, std=0.05)
    for block in model.blocks:
        # Large queries make sharp attention, so that a window's edge shows in the result.
        block.self_attn.norm_q.weight.data *= 4
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class SeededNoise:
    """Core's RandomNoise."""

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        import comfy.sample

        return comfy.sample.prepare_noise(latent["samples"], self.seed)


@dataclass(frozen=True)
class Graph:
    """A loaded model with its guider and schedule, and shortcuts that run the pack's nodes."""

    modules: Any
    guider: Any
    sigmas: Tensor

    def run(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        return self.modules.node(node_id).execute(**inputs).args

    def low_res(self, **changes: Any) -> tuple[dict[str, Any], Any]:
        """(latent, trajectory) of the Low-Res Sampler."""
        inputs = {
            "noise": SeededNoise(3),
            "guider": self.guider,
            "sigmas": self.sigmas,
            "latent_image": {"samples": torch.zeros(LATENT)},
        }
        latent, trajectory = self.run("S2FlowLowResSampler", **inputs | changes)
        return latent, trajectory

    def upsample(self, trajectory: Any, **changes: Any) -> tuple[dict[str, Any], Tensor, Any]:
        inputs = {"trajectory": trajectory, "t_i": 3, "scale": 2.0, "method": "bicubic", "seed": 1}
        latent, sigmas, noise = self.run("S2FlowUpsample", **inputs | changes)
        return latent, sigmas, noise

    def windows(self, trajectory: Any, latent: dict[str, Any], s: float, policy: str = "paper") -> Any:
        return self.run("S2FlowWindowMask", trajectory=trajectory, latent=latent, s=s, policy=policy)[0]

    def high_res(self, triple: tuple[Any, Any, Any], **inputs: Any) -> Tensor:
        latent, sigmas, noise = triple
        given = {"noise": noise, "guider": self.guider, "sigmas": sigmas, "latent_image": latent}
        plain = {"order": 1, "rope": "none"}
        return self.run("S2FlowHighResSampler", **given | plain | inputs)[0]["samples"]


def wan_graph(modules: Any, guidance: float = 3.0, model: Any = None) -> Graph:
    """A Graph on a random Wan model, with a real CFGGuider and core's simple schedule."""
    import comfy.sd

    generate = modules.pack("demo.generate")
    vocabulary = modules.pack("demo.vocabulary")
    if model is None:
        model = comfy.sd.load_diffusion_model_state_dict(random_wan_weights(modules.pack))
        model = generate.with_shift(model, 3.0)
    prompt = vocabulary.Prompt("red", "circle", "left", "sand")
    guider = generate.guider_for(model, [prompt], guidance)
    return Graph(modules, guider, generate.schedule(model, STEPS))
