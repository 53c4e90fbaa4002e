"""S²Flow Low-Res Sampler: an ordinary Euler run that writes down what the HR run will need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..s2flow_core.flow import check_sigmas, noise_estimate
from ..s2flow_core.solver import FlowSolver
from ..s2flow_core.trajectory import Trajectory, TrajectoryRecorder
from .host.attention_capture import AttentionCapture
from .host.context_windows import grid_per_pass
from .host.guided_sampling import GuidedModel, latent_samples, sample_guided
from .host.model_facts import (
    diffusion_model,
    family_or_unknown,
    identity_of,
    require_family,
    require_flow_model,
    require_video_latent,
)
from .host.schema import CATEGORY, TrajectoryType, advanced
from .host.token_layout import patched_grid


class S2FlowLowResSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowLowResSampler",
            display_name="S²Flow Low-Res Sampler",
            category=CATEGORY,
            description=(
                "Samples the video at the size the model was trained for, and records the run: every step's "
                "estimate and how far each attention head looks. It does not depend on t_i or s, so moving "
                "those sliders never runs it again."
            ),
            inputs=[
                io.Noise.Input("noise"),
                io.Guider.Input("guider"),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip=(
                        "The whole schedule, down to 0. The paper uses 50 steps. A part of it where a second "
                        "Low-Res Sampler continues this one."
                    ),
                ),
                io.Latent.Input("latent_image", tooltip="An empty video latent at the model's own size."),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip=(
                        "Of a Low-Res Sampler that stopped above 0, to be continued: another CFG, or the "
                        "second expert of Wan 2.2. Then latent_image is that sampler's latent, and noise is "
                        "DisableNoise."
                    ),
                ),
                advanced(
                    io.Int.Input(
                        "capture_rows",
                        default=256,
                        min=0,
                        max=4096,
                        tooltip=(
                            "Query tokens, spread over the whole video, whose attention is measured in every "
                            "layer and step. More is more exact and slower. 0 records no attention, so no "
                            "windows can be made."
                        ),
                    )
                ),
                advanced(
                    io.Boolean.Input(
                        "capture_error",
                        default=True,
                        tooltip=(
                            "Also measures what each window would change in the output, which the policy "
                            "'error' of S²Flow Window Mask needs. Off: a cheaper capture, for the other "
                            "policies."
                        ),
                    )
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The low-resolution video, for a preview."),
                TrajectoryType.Output(display_name="trajectory"),
            ],
        )

    @classmethod
    def execute(
        cls,
        noise,
        guider,
        sigmas,
        latent_image,
        trajectory: Trajectory | None = None,
        capture_rows: int = 256,
        capture_error: bool = True,
    ) -> io.NodeOutput:
        check_sigmas(sigmas, "sigmas of the Low-Res Sampler", to_zero=False)
        patcher = guider.model_patcher
        require_flow_model(patcher)
        family = family_or_unknown(patcher)
        samples = latent_samples(guider, latent_image)
        require_video_latent(patcher, samples, "latent_image")
        if trajectory is not None:
            trajectory.check_fits(identity_of(patcher))
            trajectory.check_continues(sigmas, tuple(samples.shape))
            require_same_capture(trajectory, capture_rows, capture_error)

        model = diffusion_model(patcher)
        grid = patched_grid(samples, family.patch(model))
        recorder = TrajectoryRecorder()
        capture = None
        if capture_rows and family.layers(model):
            require_family(patcher)
            seen = grid_per_pass(guider.model_options, samples, family.patch(model))
            capture = AttentionCapture(family, model, seen, capture_rows, capture_error)
        to_latent_space = patcher.model.process_latent_out

        started = time.perf_counter()
        sampler = recording_sampler(recorder, capture, to_latent_space)
        result = sample_guided(guider, noise, sigmas, latent_image, sampler, capture)
        recorded = recorder.finish(
            final=result,
            token_shape=grid,
            patch=family.patch(model),
            model=identity_of(patcher),
            seconds=time.perf_counter() - started,
            reach=capture.reach() if capture else None,
            end_sigma=float(sigmas[-1]),
        )
        if trajectory is not None:
            recorded = trajectory.followed_by(recorded)
        return io.NodeOutput(latent_image | {"samples": result}, recorded)


def require_same_capture(earlier: Trajectory, rows: int, with_error: bool) -> None:
    """Raises unless both parts of a run record the same: windows need the attention of every step."""
    reach = earlier.reach
    if (reach is not None) != bool(rows):
        other = "holds none" if reach is None else "holds attention"
        raise ValueError(
            f"capture_rows is {rows}, but the earlier trajectory {other}. Set capture_rows to 0 in both "
            "Low-Res Samplers or in neither."
        )
    if reach is not None and (reach.error is not None) != with_error:
        raise ValueError(
            f"capture_error is {with_error} here and was {not with_error} in the earlier run. Set it alike "
            "in both Low-Res Samplers."
        )


def recording_sampler(
    recorder: TrajectoryRecorder,
    capture: AttentionCapture | None,
    to_latent_space: Callable[[Tensor], Tensor],
) -> Callable[..., Tensor]:
    """Euler that writes every step's estimates to the recorder and tells the capture which step it is."""

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
        solver = FlowSolver(order=1, source="none", field=None)
        for i, sigma in enumerate(sigmas[:-1]):
            if capture is not None:
                capture.begin_step(i)
            denoised = guided.denoised(x, sigma)
            recorder.record(sigma, to_latent_space(denoised), noise_estimate(x, denoised, sigma))
            if callback is not None:
                callback({"i": i, "denoised": denoised, "x": x})
            x = solver.step(x, denoised, sigmas, i)
        return x

    return sample
