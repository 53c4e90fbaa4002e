"""S²Flow High-Res Sampler: the steps at high resolution, guided twice by the low-resolution run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..s2flow_core.backends import BACKENDS
from ..s2flow_core.flow import check_sigmas
from ..s2flow_core.policy import WindowPlan
from ..s2flow_core.resample import resize_latent
from ..s2flow_core.solver import SOURCES, FlowSolver, LowResField
from ..s2flow_core.trajectory import Trajectory
from ..s2flow_core.transition import recorded_scale
from .host.guided_sampling import GuidedModel, latent_samples, sample_guided
from .host.model_facts import (
    diffusion_model,
    identity_of,
    require_family,
    require_flow_model,
    require_video_latent,
)
from .host.schema import CATEGORY, TrajectoryType, WindowsType, advanced
from .host.token_layout import patched_grid
from .host.window_attention_hook import WindowedAttention

log = logging.getLogger(__name__)


class S2FlowHighResSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowHighResSampler",
            display_name="S²Flow High-Res Sampler",
            category=CATEGORY,
            description=(
                "Runs the last steps at high resolution. The trajectory of the low-resolution run improves "
                "every step, and the windows limit what each attention head looks at. Leave either out to "
                "see what it does."
            ),
            inputs=[
                io.Noise.Input(
                    "noise", tooltip="From S²Flow Upsample, so that it agrees with the small video."
                ),
                io.Guider.Input("guider"),
                io.Sigmas.Input("sigmas", tooltip="From S²Flow Upsample: the steps that are left."),
                io.Latent.Input("latent_image", tooltip="From S²Flow Upsample: the enlarged clean estimate."),
                TrajectoryType.Input("trajectory", optional=True, tooltip="Needed for orders above 1."),
                WindowsType.Input(
                    "windows", optional=True, tooltip="Without windows, attention stays dense."
                ),
                io.Int.Input(
                    "order",
                    default=2,
                    min=1,
                    max=3,
                    tooltip="Order of the solver. 1 is Euler; the paper uses 2 and finds little gain in 3.",
                ),
                advanced(
                    io.Combo.Input(
                        "derivative",
                        options=list(SOURCES),
                        default="low_res",
                        tooltip=(
                            "Where the solver's higher-order terms come from: the low-resolution run (the "
                            "paper), the high-resolution run's own last steps, a blend of both, or nowhere."
                        ),
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "backend",
                        options=["auto", *BACKENDS],
                        default="auto",
                        tooltip=(
                            "How windowed attention is computed. auto measures once and takes the fastest; "
                            "any other choice must run or says why it cannot."
                        ),
                    )
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent")],
        )

    @classmethod
    def execute(
        cls,
        noise,
        guider,
        sigmas,
        latent_image,
        trajectory: Trajectory | None = None,
        windows: WindowPlan | None = None,
        order: int = 2,
        derivative: str = "low_res",
        backend: str = "auto",
    ) -> io.NodeOutput:
        check_sigmas(sigmas, "sigmas of the High-Res Sampler")
        require_flow_model(guider)
        samples = latent_samples(guider, latent_image)
        require_video_latent(guider, samples, "latent_image")
        if trajectory is not None:
            trajectory.check_fits(identity_of(guider, require_family(guider)))
            require_same_video(trajectory, samples)

        hook = None
        if windows is not None:
            hook = hook_for_windows(guider, samples, windows, backend)
        source = derivative if order > 1 else "none"
        field = None
        if source in ("low_res", "blend"):
            if trajectory is None:
                raise ValueError(
                    f"Order {order} with the derivative '{derivative}' needs the trajectory of the Low-Res "
                    "Sampler. Connect it, choose the derivative 'history', or set the order to 1."
                )
            field = low_res_field(guider, trajectory, samples, sigmas)
        sampler = flow_sampler(order, source, field)
        result = sample_guided(guider, noise, sigmas, latent_image, sampler, hook)
        if hook is not None:
            log.info("S²Flow windows: attention density %.3f achieved", hook.visited.density)
        return io.NodeOutput(latent_image | {"samples": result})


def require_same_video(trajectory: Trajectory, samples: Tensor) -> None:
    """Raises unless an HR latent can follow the LR run: same batch and frames, and not smaller."""
    small, large = trajectory.latent_shape, tuple(samples.shape)
    if small[:3] != large[:3]:
        raise ValueError(
            f"The trajectory holds {small[0]} video(s) of {small[2]} latent frames, {small[1]} channels; "
            f"latent_image holds {large[0]} of {large[2]} with {large[1]}. Use the latent that S²Flow "
            "Upsample made from this trajectory."
        )
    if small[3] > large[3] or small[4] > large[4]:
        raise ValueError(
            f"latent_image is {large[4]}×{large[3]} cells, smaller than the low-resolution run's "
            f"{small[4]}×{small[3]}. Choose a larger size in S²Flow Upsample."
        )


def hook_for_windows(guider: Any, samples: Tensor, windows: WindowPlan, backend: str) -> WindowedAttention:
    """The attention hook of one HR run; raises if the windows were made for another model or size."""
    family = require_family(guider)
    model = diffusion_model(guider)
    grid = patched_grid(samples, family.patch(model))
    if grid != windows.grid.shape:
        raise ValueError(
            f"The windows were made for {windows.grid.shape} tokens (frames, height, width), but "
            f"latent_image has {grid}. Connect the same latent to S²Flow Window Mask and to the sampler."
        )
    made_for = tuple(windows.extents.shape[1:3])
    given = (family.layers(model), family.heads(model))
    if made_for != given:
        raise ValueError(
            f"The windows were made for a model with {made_for[0]} layers of {made_for[1]} heads; this one "
            f"has {given[0]} of {given[1]}. Make the trajectory and the windows with this model."
        )
    return WindowedAttention(family, model, windows, backend)


def low_res_field(guider: Any, trajectory: Trajectory, samples: Tensor, sigmas: Tensor) -> LowResField:
    """The LR record as the solver sees it: differences of clean estimates, enlarged, in model space."""
    process_in = guider.model_patcher.model.process_latent_in
    size = (samples.shape[-2], samples.shape[-1])
    device = guider.model_patcher.load_device

    def upsample(difference: Tensor) -> Tensor:
        large = resize_latent(difference.to(device, torch.float32), size)  # (B, C, T, H, W)
        # Differences take only the linear part of the latent format.
        return process_in(large) - process_in(torch.zeros_like(large))

    small, large = trajectory.latent_shape, samples.shape
    scale = math.sqrt(large[-2] / small[-2] * large[-1] / small[-1])
    snr_scale = recorded_scale(sigmas, trajectory.sigmas, scale)
    return LowResField(trajectory.sigmas, trajectory.denoised, upsample, snr_scale)


def flow_sampler(order: int, source: str, field: LowResField | None) -> Callable[..., Tensor]:
    """A k-diffusion style sampler function; the solver's history lives for one call of it."""

    @torch.no_grad()
    def sample(
        model: Callable,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable | None = None,
        disable: bool = False,
    ) -> Tensor:
        guided = GuidedModel(model, x, extra_args)
        solver = FlowSolver(order=order, source=source, field=field)
        for i, sigma in enumerate(sigmas[:-1]):
            denoised = guided.denoised(x, sigma)
            if callback is not None:
                callback({"i": i, "denoised": denoised, "x": x})
            x = solver.step(x, denoised, sigmas, i)
        return x

    return sample
