"""Previews to choose from: a sheet that shows them, a pick, and a gate before the expensive part."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..s2flow_core.contact_sheet import contact_sheet, spread_frames
from ..s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES
from ..s2flow_core.latent.resample import check_finite
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.counted import counted
from .host.found_by import found_by
from .host.inputs import CATEGORY, AnyResultType, TrajectoryType, trim_latent_input
from .host.model.checks import require_video_axes
from .host.model.extra_frames import known_or_trimmed
from .host.sampling.latents import held_latent, mask_beside
from .host.sampling.streams import VideoLatent
from .host.size.enlarge import require_matching_vae
from .host.size.video_pixels import VideoPixels

# ComfyUI shows this only where a connected node takes the missing trajectory.
NO_TRAJECTORY = "Connect the Low-Res Sampler's trajectory to S²Flow Pick Preview as well."


class S2FlowContactSheet(io.ComfyNode):
    """Every small video of a batch as a numbered row of frames, to choose from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowContactSheet",
            **found_by("preview", "thumbnails", "grid", "compare seeds"),
            display_name="S²Flow Contact Sheet",
            category=CATEGORY,
            description="Shows every video of a batch as a numbered row of frames, to pick one.",
            inputs=[
                io.Latent.Input("latent", tooltip="The small videos: a batch of one prompt, several seeds."),
                io.Vae.Input("vae", tooltip="Decodes the small videos."),
                io.Int.Input(
                    "columns", default=4, min=1, max=32, tooltip="How many frames are shown of each video."
                ),
                io.Int.Input(
                    "frame_height",
                    default=192,
                    min=32,
                    max=1024,
                    tooltip="Height of each frame on the sheet, in pixels; the videos stay as they are.",
                ),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip=(
                        "Of the same Low-Res Sampler: it knows which frames of the latent are references or "
                        "guides, and the sheet leaves them out."
                    ),
                ),
                trim_latent_input(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="sheet",
                    tooltip="One picture; the number before each row is for Pick Preview.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        latent,
        vae,
        columns: int,
        frame_height: int,
        trajectory: Trajectory | None = None,
        trim_latent: int | None = None,
    ) -> io.NodeOutput:
        samples = VideoLatent.of(latent["samples"]).video
        require_video_axes(samples, "latent")
        require_matching_vae(vae, samples.shape[1], "the latent")
        frames = samples.shape[2]
        if trajectory is not None and trajectory.latent_shape[2] != frames:
            raise ValueError(
                f"latent holds {frames} latent frames and trajectory {trajectory.latent_shape[2]}. Connect "
                "both from the same Low-Res Sampler, or leave trajectory empty."
            )
        known = NO_EXTRA_FRAMES if trajectory is None else trajectory.extra
        videos = known_or_trimmed(known, trim_latent, frames).video(samples)
        pixels = VideoPixels(vae)
        # Only what the sheet shows stays in memory: a whole clip is near a gigabyte.
        decoded = (pixels.decode(video[None])[0] for video in videos)
        clips = [spread_frames(clip, columns).float().cpu().clamp(0, 1) for clip in decoded]
        sheet = contact_sheet(clips, columns, frame_height)[None]  # (1, height, width, 3)
        return io.NodeOutput(sheet, ui=ui.PreviewImage(sheet, cls=cls))


class S2FlowPickPreview(io.ComfyNode):
    """One video of a batch, with its trajectory, by its number on the contact sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowPickPreview",
            **found_by("select", "choose", "batch index", "latent from batch"),
            display_name="S²Flow Pick Preview",
            category=CATEGORY,
            description="Takes one video out of a batch, by its number on the contact sheet.",
            inputs=[
                io.Latent.Input("latent", tooltip="The batch of small videos."),
                io.Int.Input("choice", default=1, min=1, max=4096, tooltip="Number on the contact sheet."),
                TrajectoryType.Input(
                    "trajectory",
                    optional=True,
                    tooltip="Of the same Low-Res Sampler; without it the large video cannot be made.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The chosen small video alone."),
                TrajectoryType.Output(
                    display_name="trajectory", tooltip="The record of the chosen video, for S²Flow Upsample."
                ),
            ],
        )

    @classmethod
    def execute(cls, latent, choice: int, trajectory: Trajectory | None = None) -> io.NodeOutput:
        samples = VideoLatent.of(latent["samples"])
        batch = len(samples.video)
        if not 1 <= choice <= batch:
            raise ValueError(
                f"choice is {choice}, but this batch holds {batch} video(s), numbered 1 to "
                f"{batch}. Choose one of those, or raise batch_size of the empty latent."
            )
        one = samples.of_video(choice - 1)
        check_finite(one.video, f"Video {choice} of the latent")
        picked = {"samples": one.samples()}
        kept = held_latent(latent, samples.video)
        if kept is not None:
            mask = VideoLatent(kept.mask, mask_beside(latent))
            picked["noise_mask"] = mask.of_video(choice - 1).samples()
        if trajectory is None:
            return io.NodeOutput(picked, ExecutionBlocker(NO_TRAJECTORY))
        if trajectory.batch != batch:
            raise ValueError(
                f"latent holds {batch} video(s) and trajectory {trajectory.batch}. Connect both from "
                "the same Low-Res Sampler."
            )
        return io.NodeOutput(picked, counted(trajectory.of_video(choice - 1)))


class S2FlowPreviewGate(io.ComfyNode):
    """A switch that holds the expensive part back until the previews have been looked at."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowPreviewGate",
            **found_by("switch", "pause", "stop", "mute"),
            display_name="S²Flow Preview Gate",
            category=CATEGORY,
            description=(
                "Put it at the end of the expensive part, before the node that saves. While go is off, "
                "nothing that only leads here runs. Switch it on and queue again: the small videos are "
                "kept, and only what was held back runs."
            ),
            inputs=[
                AnyResultType.Input(
                    "result", lazy=True, tooltip="A video, images or a latent from the expensive part."
                ),
                io.Boolean.Input(
                    "go", default=False, tooltip="Off: look at the previews first. On: run the rest."
                ),
            ],
            outputs=[
                AnyResultType.Output(
                    display_name="result", tooltip="What came in while go is on; nothing while it is off."
                )
            ],
        )

    @classmethod
    def check_lazy_status(cls, go: bool, result: Any = None) -> list[str]:
        """ComfyUI asks which inputs are wanted; what is not asked for is not run."""
        return ["result"] if go else []

    @classmethod
    def execute(cls, go: bool, result: Any = None) -> io.NodeOutput:
        return io.NodeOutput(result if go else ExecutionBlocker(None))
