"""What the nodes ask about a model (a ModelPatcher) before anything expensive starts."""

from __future__ import annotations

import logging
from typing import Any

import comfy.latent_formats
import comfy.model_sampling
from torch import Tensor

from ....s2flow_core.latent.finite import all_finite
from ....s2flow_core.trajectory.trajectory import ModelIdentity
from ....s2flow_core.windows.grid import Triple
from ..families import FAMILIES, any_family, family_of
from ..families.family import ModelFamily
from ..families.unknown import UnknownVideoModel, why_dense
from .open_attention import closed_attention

log = logging.getLogger(__name__)

# Video models that no formula here holds for: what they do instead, and what the artist can do.
OTHER_FLOWS = {
    "WAN21_FlowRVS": (
        "FlowRVS turns a video into the mask of an object, and has no noise to start from. Sample it with "
        "core's nodes"
    ),
    "WAN21_CausalAR": (
        "This Wan model makes one frame after the other with a sampler of its own (SamplerARVideo), so there "
        "is no step at which a whole video could be enlarged. Sample it with core's nodes, and enlarge the "
        "result with the S²Flow Refiner Sampler and another Wan model"
    ),
    "CosmosPredict2": (
        "Cosmos-Predict2 counts its noise up to sigma 80 instead of 1. Sample it with core's nodes"
    ),
    "CosmosVideo": "Cosmos counts its noise up to sigma 80 instead of 1. Sample it with core's nodes",
    "CogVideoX": (
        "CogVideoX removes noise by a diffusion schedule instead of a flow. Sample it with core's nodes"
    ),
}
# Image models on the VAE of a video model, whose names do not say so.
IMAGE_MODELS = ("Anima", "Krea2")


def diffusion_model(patcher: Any) -> Any:
    return patcher.get_model_object("diffusion_model")


def require_flow_model(patcher: Any) -> None:
    """Raises unless the model makes videos by a rectified flow, which every formula here assumes."""
    sampling = patcher.get_model_object("model_sampling")
    model = type(patcher.model).__name__
    if makes_images(patcher):
        raise ValueError(
            f"{model} makes single images, and S²Flow works on videos: load a video model such as Wan 2.1, "
            "Wan 2.2 or HunyuanVideo."
        )
    for base in type(patcher.model).__mro__:
        if base.__name__ in OTHER_FLOWS:
            raise ValueError(
                f"{OTHER_FLOWS[base.__name__]}, or load a flow model such as Wan 2.2 or HunyuanVideo 1.5."
            )
    if not isinstance(sampling, comfy.model_sampling.CONST):
        raise ValueError(
            f"{model} is not a flow model. S²Flow works with video models that predict a flow, "
            "such as Wan 2.1, Wan 2.2 or HunyuanVideo: load one of those."
        )
    if patcher.model.latent_format.latent_dimensions != 3:
        raise ValueError(
            f"{model} does not make videos: load a video model such as Wan 2.1, Wan 2.2 or HunyuanVideo."
        )


def makes_images(patcher: Any) -> bool:
    """Whether this is a text-to-image model, e.g. Qwen-Image, which shares Wan's VAE and latent format.

    Nothing in ComfyUI's classes tells them apart but their names: QwenImage, JoyImage, HunyuanImage21,
    CosmosT2IPredict2 of its list of supported models.
    """
    names = type(patcher.model).__name__, type(patcher.model.model_config).__name__
    return any(
        name in IMAGE_MODELS or (("Image" in name or "T2I" in name) and "Video" not in name) for name in names
    )


def family_or_unknown(patcher: Any) -> ModelFamily:
    """The model's family, or one that keeps attention dense, with the reason logged."""
    model = diffusion_model(patcher)
    family = family_of(model)
    if family is None:
        log.warning(
            "%s. It runs with the attention it has, and no windows can be made for it.", unreachable(model)
        )
    return family or UnknownVideoModel(model)


def patch_of(patcher: Any) -> Triple:
    """Latent cells per token, (T, H, W), of any video model: sizes need no access to the attention."""
    model = diffusion_model(patcher)
    return any_family(model).patch(model)


def require_family(patcher: Any, otherwise: str) -> ModelFamily:
    """The family of a model whose attention can be reached; raises if it cannot.

    otherwise: what the artist can do with this model at the node that asks, e.g. "set window to 0".
    """
    model = diffusion_model(patcher)
    family = family_of(model)
    if family is None:
        raise ValueError(f"{unreachable(model)}. Use a model of a known family, or {otherwise}.")
    require_open_attention(patcher, family, model, otherwise)
    return family


def unreachable(model: Any) -> str:
    """Why the attention of a model of no family is out of reach, without a full stop."""
    known = ", ".join(family.name for family in FAMILIES)
    return why_dense(model) or (
        f"S²Flow does not know where {type(model).__name__} keeps its video tokens (known: {known})"
    )


def require_open_attention(patcher: Any, family: ModelFamily, model: Any, otherwise: str) -> None:
    """Raises if another pack has replaced attention by code that never asks ComfyUI's attention function.

    No hook would see q and k, and windows would silently do nothing.
    """
    closed = closed_attention(patcher, family, model)
    if closed is not None:
        raise ValueError(
            f"The attention of this {family.name} model is computed by {closed}, which does not use "
            "ComfyUI's attention function, so S²Flow can neither measure nor window it. Load the model with "
            f"a core loader and without the node that patches its attention, or {otherwise}."
        )


def identity_of(patcher: Any) -> ModelIdentity:
    """What a trajectory remembers of its model, to refuse a run with another one."""
    model = diffusion_model(patcher)
    family = any_family(model)
    latent_format = patcher.model.latent_format
    return ModelIdentity(
        family=family.name,
        layers=family.layers(model),
        heads=family.heads(model),
        channels=video_channels(patcher),
        latent_format=type(latent_format).__name__,
    )


def video_channels(patcher: Any) -> int:
    """Channels of the video's latent."""
    model = diffusion_model(patcher)
    return any_family(model).channels(model) or patcher.model.latent_format.latent_channels


def require_video_axes(samples: Tensor, name: str) -> None:
    """Raises unless samples have the axes of a video latent (B, C, T, H, W), and something in them."""
    if samples.ndim != 5:
        raise ValueError(
            f"{name} has the shape {tuple(samples.shape)}, but a video latent has five axes "
            "(batch, channels, frames, height, width). Use an empty video latent such as "
            "EmptyHunyuanLatentVideo, not one made for images."
        )
    if not samples.numel():
        raise ValueError(
            f"{name} is empty: its shape (batch, channels, frames, height, width) is {tuple(samples.shape)}. "
            "Look at the node that cut it, and leave at least one video of one frame."
        )


def require_video_latent(patcher: Any, samples: Tensor, name: str) -> None:
    """Raises unless samples are a finite video latent (B, C, T, H, W) with the model's channels."""
    channels = video_channels(patcher)
    require_video_axes(samples, name)
    if samples.shape[1] != channels:
        raise ValueError(
            f"{name} has {samples.shape[1]} channels, but this model's latents have {channels}. "
            "Make the latent with the VAE or the empty-latent node that belongs to the model."
        )
    if not all_finite(samples):
        raise ValueError(f"{name} contains NaN or infinite values: check the node that made it.")
