"""Latents of several streams: models of picture and sound sample both, and only the picture has a size.

At a node's edge a LATENT of such a model is a NestedTensor, which `VideoLatent` takes apart and puts
together. Inside a run all streams lie behind each other in one flat state, which `Streams` cuts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....s2flow_core.latent.noise import white_noise
from ..families import any_family
from ..model.checks import diffusion_model


@dataclass(frozen=True)
class VideoLatent:
    """Samples, noise or mask of a LATENT.

    video: (B, C, T, H, W). beside: what has no size, (B, C, ...) each: sound.
    """

    video: Tensor
    beside: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, samples: Any) -> VideoLatent:
        """From what stands in a LATENT: a tensor, or a NestedTensor with the video first."""
        if not getattr(samples, "is_nested", False):
            return cls(samples)
        video, *beside = samples.unbind()
        return cls(video, tuple(beside))

    def samples(self) -> Any:
        """As ComfyUI wants it in a LATENT."""
        if not self.beside:
            return self.video
        from comfy.nested_tensor import NestedTensor  # older versions have neither it nor sound

        return NestedTensor((self.video, *self.beside))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of every stream, the video first."""
        return tuple(tuple(stream.shape) for stream in (self.video, *self.beside))

    def of_video(self, index: int) -> VideoLatent:
        """One video of the batch, with its sound."""
        one = slice(index, index + 1)
        return VideoLatent(self.video[one], tuple(stream[one] for stream in self.beside))

    def copied(self) -> VideoLatent:
        """The same in memory of its own."""
        return VideoLatent(self.video.clone(), tuple(stream.clone() for stream in self.beside))

    def packed(self) -> Tensor:
        """As a sampler's state holds it: (B, 1, N) of all streams behind each other, or the video alone."""
        if not self.beside:
            return self.video
        return torch.cat([stream.flatten(1)[:, None] for stream in (self.video, *self.beside)], dim=-1)

    def mask(self, of_video: Tensor | None, of_beside: float = 1.0) -> Any | None:
        """A noise_mask for these samples: of the video, (B, 1 or C, T, H, W), and one value for the rest.

        1 samples, 0 holds. None where nothing is held.
        """
        if not self.beside:
            return of_video
        if of_video is None and of_beside == 1:
            return None
        whole = torch.ones_like(self.video[:, :1]) if of_video is None else of_video
        rest = tuple(torch.full_like(stream[:, :1], of_beside) for stream in self.beside)
        return VideoLatent(whole, rest).samples()

    def noise_beside(self, seed: int) -> tuple[Tensor, ...]:
        """White noise for the streams beside the video, of other seeds than the video's."""
        return tuple(
            white_noise(tuple(stream.shape), seed + number) for number, stream in enumerate(self.beside, 1)
        )


@dataclass(frozen=True)
class Streams:
    """Where the streams are in a sampler's state. shapes: of each, the video first."""

    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of_run(cls, base_model: Any, x: Tensor) -> Streams:
        """base_model: comfy's BaseModel while it samples, which knows what its state x is packed from."""
        shapes = getattr(base_model, "latent_shapes", None) or [x.shape]
        return cls(tuple(tuple(shape) for shape in shapes))

    def split(self, state: Tensor) -> tuple[Tensor, ...]:
        """(video,) or (video, all the rest in one flat piece); video: (B, C, T, H, W), a view."""
        if len(self.shapes) == 1:
            return (state,)
        shape = self.shapes[0]
        end = math.prod(shape[1:])
        return state[..., :end].reshape(state.shape[0], *shape[1:]), state[..., end:]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """The state (B, 1, N) of the parts of `split`, or the video alone."""
        video, *rest = parts
        return torch.cat([video.flatten(1)[:, None], *rest], dim=-1) if rest else video


def model_space_beside(patcher: Any, latent: VideoLatent) -> tuple[Tensor, ...]:
    """The streams beside the video as the sampler carries them: MiniMax H3's sound is scaled.

    The model's own process_latent_in knows it only while it samples.
    """
    scale = getattr(patcher.get_model_object("model_sampling"), "audio_scale", 1.0)
    return tuple(stream.float() * scale for stream in latent.beside)


def require_streams(patcher: Any, latent: VideoLatent, name: str) -> None:
    """Raises unless the model makes what the latent holds: video alone, or video and sound."""
    model = diffusion_model(patcher)
    family = any_family(model)
    if 1 + len(latent.beside) in family.streams:
        if (objection := family.objection(model, latent.video)) is not None:
            raise ValueError(f"{name} {objection}")
        return
    if latent.beside:
        raise ValueError(
            f"{name} holds sound beside the video, and {family.name} makes video alone. Take the sound off "
            "with LTXVSeparateAVLatent and connect the video latent, or load a model that makes sound."
        )
    raise ValueError(
        f"{name} holds a video alone, and {family.name} makes video and sound together. Start from the empty "
        "latent of that model (EmptyMiniMaxH3LatentAV), or add a sound latent with LTXVConcatAVLatent."
    )
