"""A NOISE of ComfyUI that was drawn beforehand."""

from __future__ import annotations

from typing import Any

from .streams import VideoLatent


class ReadyNoise:
    """Noise for one size; whoever asks for another has crossed two wires.

    noise: as a LATENT's samples, a tensor or a NestedTensor of several streams. of_video: each frame of it
    belongs to that frame of the video, so no other node may shuffle them.
    """

    def __init__(self, noise: Any, seed: int, of_video: bool):
        self.noise = noise
        self.seed = seed
        self.of_video = of_video

    def generate_noise(self, input_latent: dict[str, Any]) -> Any:
        made, wanted = (VideoLatent.of(x).shapes for x in (self.noise, input_latent["samples"]))
        if made != wanted:
            raise ValueError(
                f"This noise was made for a latent of {described(made)}, not {described(wanted)}. "
                "Connect noise and latent of the same S²Flow Upsample or Noise Reshift node."
            )
        # Core's FreeNoise writes into what it is given, and this object is kept for the next run.
        return VideoLatent.of(self.noise).copied().samples()


def described(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join(map(str, shapes))
