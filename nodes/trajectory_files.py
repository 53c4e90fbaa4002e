"""S²Flow Save and Load Trajectory: a preview made today can be refined tomorrow."""

from __future__ import annotations

import os
from typing import Any

from comfy_api.latest import io, ui

from ..s2flow_core.trajectory.files import load_trajectory, save_numbered_trajectory
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.counted import counted
from .host.file_places import listed_files, numbered_files, path_of, shown_name, version_of
from .host.found_by import found_by
from .host.inputs import CATEGORY, TrajectoryType
from .host.sampling.streams import VideoLatent

FOLDER = "trajectories"
SUFFIX = ".s2flow.safetensors"
# What a link may bring as a file's name; "*" is said by nodes that pass anything on.
NAME_TYPES = {"STRING", "COMBO", "*"}


class S2FlowSaveTrajectory(io.ComfyNode):
    """A small run as a file, so that its large video can be made later or elsewhere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowSaveTrajectory",
            **found_by("save latent", "resume", "store", "export"),
            display_name="S²Flow Save Trajectory",
            category=CATEGORY,
            description="Writes a low-resolution run to a file, so that its high-resolution run can wait.",
            inputs=[
                TrajectoryType.Input(
                    "trajectory", tooltip="Of the Low-Res Sampler: everything that the large run needs."
                ),
                io.String.Input(
                    "filename_prefix",
                    default=f"{FOLDER}/s2flow",
                    tooltip="Folder and beginning of the file's name, in ComfyUI's output folder.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, trajectory: Trajectory, filename_prefix: str) -> io.NodeOutput:
        pattern, first = numbered_files(filename_prefix, SUFFIX)
        file = save_numbered_trajectory(trajectory, pattern, first)
        return io.NodeOutput(ui=ui.PreviewText(shown_name(file)))


class S2FlowLoadTrajectory(io.ComfyNode):
    """A saved small run, ready for its large video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowLoadTrajectory",
            **found_by("load latent", "resume", "import"),
            display_name="S²Flow Load Trajectory",
            category=CATEGORY,
            description="Reads a low-resolution run that S²Flow Save Trajectory wrote.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=listed_files(SUFFIX),
                    tooltip="A small run that was saved, newest first; press R for a new list.",
                )
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The low-resolution video."),
                TrajectoryType.Output(
                    display_name="trajectory",
                    tooltip="For S²Flow Upsample, Window Mask and High-Res Sampler.",
                ),
            ],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        trajectory = load_trajectory(path_of(file))
        final = VideoLatent(trajectory.final, trajectory.beside)
        latent = {"samples": final.samples()}
        if trajectory.held is not None:
            latent["noise_mask"] = final.mask(trajectory.held.mask)
        return io.NodeOutput(latent, counted(trajectory))

    @classmethod
    def validate_inputs(cls, file: str | None, input_types: dict[str, Any]) -> bool | str:
        """A name that comes by a link is None here and waits for `execute`; its type is checked instead."""
        linked = input_types.get("file")
        if linked is not None:
            brings_name = isinstance(linked, list) or NAME_TYPES.intersection(str(linked).split(","))
            return True if brings_name else f"file takes the name of a file, not {linked}."
        try:
            path = path_of(file)
        except ValueError as problem:
            return str(problem)
        if not os.path.isfile(path):
            return f"The trajectory {file} is gone; refresh the list (press R) and choose another."
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None) -> str:
        """Of a linked name nothing is known yet; ComfyUI itself runs again when the name changes."""
        try:
            return "" if file is None else version_of(path_of(file))
        except ValueError:
            return ""
