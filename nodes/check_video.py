"""S²Flow Check Video: what an artist should look at in the large video, and which slider to move."""

from __future__ import annotations

from comfy_api.latest import io, ui
from torch import Tensor

from ..s2flow_core.comparison import paired_frames, require_same_shape
from ..s2flow_core.latent.resample import check_finite
from ..s2flow_core.video_check.measures import MEASURES, measure
from ..s2flow_core.video_check.verdict import report_of
from .host.found_by import found_by
from .host.inputs import CATEGORY, advanced, small_fps_input
from .host.progress import progress


class S2FlowCheckVideo(io.ComfyNode):
    """Flicker, repetition, seams, drift, frozen motion and detail, measured against the small video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowCheckVideo",
            display_name="S²Flow Check Video",
            category=CATEGORY,
            **found_by("check", "quality", "flicker", "seams", "measure"),
            description=(
                "Measures what the large video has that the small one has not: pulses of brightness, "
                "repetition, seams, drift, frozen motion, and the detail that was won. Says what to look at "
                "and which slider to move."
            ),
            inputs=[
                io.Image.Input(
                    "small", tooltip="Decoded frames of the small video, which the large one is held against."
                ),
                io.Image.Input(
                    "large",
                    tooltip=(
                        "Decoded frames of the large video. Measuring takes seconds, at 4K some minutes."
                    ),
                ),
                advanced(
                    io.Float.Input(
                        "fps",
                        default=16.0,
                        min=1.0,
                        max=120.0,
                        step=1.0,
                        tooltip="Frames a second of the large video; needed where the small one has others.",
                    )
                ),
                advanced(small_fps_input()),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="The verdict, advice for every fault, and the figures."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, small: Tensor, large: Tensor, fps: float = 16.0, small_fps: float = 0.0
    ) -> io.NodeOutput:
        pairs = paired_frames((len(small), len(large)), (small_fps or fps, fps))
        require_same_shape(small, large)
        for video, name in ((small, "small"), (large, "large")):
            check_finite(video, name)
        report = report_of(measure(large[: len(pairs.large)], small[pairs.small], progress(MEASURES)))
        if pairs.word:
            report = f"{report}\nNote: {pairs.word}."
        return io.NodeOutput(report, ui=ui.PreviewText(report))
