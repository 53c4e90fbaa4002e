"""S²Flow Compare: the small video, enlarged, against the large one, in one looping video."""

from __future__ import annotations

import logging

from comfy_api.latest import InputImpl, io, ui
from torch import Tensor

from ..s2flow_core.comparison import MODES, comparison_frames, comparison_length, paired_frames
from .host.found_by import found_by
from .host.inputs import CATEGORY, small_fps_input
from .host.progress import shown_in_progress
from .host.video_file import next_mp4, write_mp4

log = logging.getLogger(__name__)


class S2FlowCompare(io.ComfyNode):
    """What the large run has brought: both videos in one picture, frame by frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowCompare",
            display_name="S²Flow Compare",
            category=CATEGORY,
            **found_by("compare", "side by side", "wipe", "before after", "difference", essential=True),
            description=(
                "Shows the small video, enlarged, against the large one: as a line that wipes over the "
                "picture, or side by side. Both run frame by frame together."
            ),
            inputs=[
                io.Image.Input(
                    "small", tooltip="Decoded frames of the small video; they are enlarged to fit."
                ),
                io.Image.Input("large", tooltip="Decoded frames of the large video."),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=1.0,
                    max=120.0,
                    step=1.0,
                    tooltip="Frames a second of the large video, as in Create Video.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="wipe",
                    tooltip=(
                        "wipe: left of a moving line the small video, right of it the large one. side by "
                        "side: both whole, in a picture of twice the width."
                    ),
                ),
                io.Boolean.Input(
                    "save",
                    default=False,
                    tooltip="On: kept in the output folder. Off: shown, and gone with ComfyUI's next start.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="s2flow_compare",
                    tooltip="Folder and beginning of the file's name, in ComfyUI's output folder.",
                ),
                small_fps_input(),
            ],
            outputs=[
                io.Video.Output(display_name="comparison", tooltip="The same video, for further nodes.")
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        small: Tensor,
        large: Tensor,
        fps: float,
        mode: str,
        save: bool = False,
        filename_prefix: str = "s2flow_compare",
        small_fps: float = 0.0,
    ) -> io.NodeOutput:
        pairs = paired_frames((len(small), len(large)), (small_fps or fps, fps))
        if pairs.word:
            log.warning("S²Flow Compare: %s.", pairs.word)
        place = next_mp4(filename_prefix, save)
        frames = comparison_frames(small, large, mode, pairs, fps)
        write_mp4(place.path, shown_in_progress(frames, comparison_length(mode, pairs, fps)), fps)
        folder = io.FolderType.output if save else io.FolderType.temp
        shown = ui.PreviewVideo([ui.SavedResult(place.name, place.subfolder, folder)])
        return io.NodeOutput(InputImpl.VideoFromFile(str(place.path)), ui=shown)
