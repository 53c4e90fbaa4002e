"""A NOISE of ComfyUI that was drawn beforehand."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class ReadyNoise:
    """Noise for one size; whoever asks for another has crossed two wires.

    of_video: each frame of it belongs to that frame of the video, so no other node may shuffle them.
    """

    def __init__(self, noise: Tensor, seed: int, of_video: bool):
        self.noise = noise
        self.seed = seed
        self.of_video = of_video

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        wanted = input_latent["samples"].shape
        if self.noise.shape != wanted:
            raise ValueError(
                f"This noise was made for a latent of {tuple(self.noise.shape)}, not {tuple(wanted)}. "
                "Connect noise and latent of the same S²Flow Upsample or Noise Reshift node."
            )
        # Core's FreeNoise writes into what it is given, and this object is kept for the next run.
        return self.noise.clone()
