"""The model as a sampler function sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class GuidedModel:
    """The model as a sampler function sees it, with sigma given once per step instead of once per sample."""

    def __init__(self, model: Any, x: Tensor, extra_args: dict):
        self.model = model
        self.extra_args = extra_args
        self.ones = torch.ones(x.shape[0], dtype=x.dtype, device=x.device)  # (B,)
        self.calls = 0

    @property
    def mask(self) -> Tensor | None:
        """1 where the video is made, 0 where ComfyUI puts back what is held; None without a mask."""
        return self.extra_args.get("denoise_mask")

    @property
    def base_model(self) -> Any:
        """comfy's BaseModel: KSampler hands down the inpainting wrapper around the guider around it."""
        return self.model.inner_model.inner_model

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Guided clean estimate of the state x at sigma, in model space."""
        self.calls += 1
        return self.model(x, sigma * self.ones, **self.extra_args)

    def with_options(self, change: Callable[[dict], dict], x: Tensor) -> GuidedModel:
        """The same under other model options; change: makes them from the present ones."""
        options = change(self.extra_args["model_options"])
        return GuidedModel(self.model, x, self.extra_args | {"model_options": options})
