"""A NOISE of ComfyUI that was drawn beforehand."""

from __future__ import annotations

from typing import Any

from .streams import VideoLatent


class ReadyNoise:
    """Noise for one size; whoever asks for another has crossed two wires."""

    def __init__(self, noise: Any, seed: int):
        self.noise = noise  # as a LATENT's samples: a tensor, or a NestedTensor of several streams
        self.seed = seed

    def generate_noise(self, input_latent: dict[str, Any]) -> Any:
        made, wanted = (VideoLatent.of(x).shapes for x in (self.noise, input_latent["samples"]))
        if made != wanted:
            raise ValueError(
                f"This noise was made for a latent of {described(made)}, not {described(wanted)}. "
                "Connect noise and latent of the same S²Flow Upsample or Noise Reshift node."
            )
        return self.noise


def described(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join(map(str, shapes))
