"""What the nodes ask about a model (a ModelPatcher) before anything expensive starts."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_sampling
import torch
from torch import Tensor

from ...s2flow_core.trajectory import ModelIdentity
from .token_layout import FAMILIES, ModelFamily, family_of


def diffusion_model(patcher: Any) -> Any:
    return patcher.get_model_object("diffusion_model")


def require_flow_model(patcher: Any) -> None:
    """Raises unless the model integrates a rectified flow, which every formula here assumes."""
    sampling = patcher.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.CONST):
        model = type(patcher.model).__name__
        raise ValueError(
            f"{model} is not a flow model. S²Flow works with video models that predict a flow, "
            "such as Wan 2.1, Wan 2.2 or HunyuanVideo: load one of those."
        )


def require_family(patcher: Any) -> ModelFamily:
    """The model's family; raises with the families that are known."""
    model = diffusion_model(patcher)
    family = family_of(model)
    if family is None:
        known = ", ".join(family.name for family in FAMILIES)
        raise ValueError(
            f"S²Flow does not know where {type(model).__name__} keeps its video tokens (known: {known}). "
            "Use a model of a known family."
        )
    return family


def identity_of(patcher: Any) -> ModelIdentity:
    """What a trajectory remembers of its model, to refuse a run with another one."""
    family, model = require_family(patcher), diffusion_model(patcher)
    latent_format = patcher.model.latent_format
    return ModelIdentity(
        family=family.name,
        layers=family.layers(model),
        heads=family.heads(model),
        channels=latent_format.latent_channels,
        latent_format=type(latent_format).__name__,
    )


def require_video_latent(patcher: Any, samples: Tensor, name: str) -> None:
    """Raises unless samples are a finite video latent (B, C, T, H, W) with the model's channels."""
    channels = patcher.model.latent_format.latent_channels
    if samples.ndim != 5:
        raise ValueError(
            f"{name} has the shape {tuple(samples.shape)}, but a video latent has five axes "
            "(batch, channels, frames, height, width). Use an empty video latent such as "
            "EmptyHunyuanLatentVideo, not one made for images."
        )
    if samples.shape[1] != channels:
        raise ValueError(
            f"{name} has {samples.shape[1]} channels, but this model's latents have {channels}. "
            "Make the latent with the VAE or the empty-latent node that belongs to the model."
        )
    if not torch.isfinite(samples).all():
        raise ValueError(f"{name} contains NaN or infinite values: check the node that made it.")
