"""S²Flow Save and Load Trajectory: a preview made today can be refined tomorrow."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..s2flow_core.trajectory.files import load_trajectory, save_trajectory
from ..s2flow_core.trajectory.trajectory import Trajectory
from .host.inputs import CATEGORY, TrajectoryType
from .host.sampling.streams import VideoLatent

FOLDER = "trajectories"
SUFFIX = ".s2flow.safetensors"
# Both are listed, so that a saved file need not be moved before it can be loaded.
PLACES = ("output", "input")


def place(name: str) -> Path:
    return Path(
        folder_paths.get_output_directory() if name == "output" else folder_paths.get_input_directory()
    )


def listed_files() -> list[str]:
    """Every trajectory as place/path, newest first."""
    found = [(name, path) for name in PLACES for path in place(name).rglob(f"*{SUFFIX}")]
    found.sort(key=lambda item: item[1].stat().st_mtime, reverse=True)
    return [f"{name}/{path.relative_to(place(name)).as_posix()}" for name, path in found]


def path_of(file: str) -> Path:
    """The path behind a listed name; raises for one that leads out of its folder."""
    name, _, rest = file.partition("/")
    folder = place(name).resolve()
    path = (folder / rest).resolve()
    if name not in PLACES or not path.is_relative_to(folder):
        raise ValueError(f"{file} is not in ComfyUI's output or input folder; choose a file from the list.")
    return path


class S2FlowSaveTrajectory(io.ComfyNode):
    """A small run as a file, so that its large video can be made later or elsewhere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowSaveTrajectory",
            display_name="S²Flow Save Trajectory",
            category=CATEGORY,
            description="Writes a low-resolution run to a file, so that its high-resolution run can wait.",
            inputs=[
                TrajectoryType.Input("trajectory"),
                io.String.Input(
                    "filename_prefix", default=f"{FOLDER}/s2flow", tooltip="In ComfyUI's output folder."
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, trajectory: Trajectory, filename_prefix: str) -> io.NodeOutput:
        folder, name, _, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        numbers = [path.name[len(name) + 1 : -len(SUFFIX)] for path in Path(folder).glob(f"{name}_*{SUFFIX}")]
        number = max((int(text) for text in numbers if text.isdigit()), default=0) + 1
        file = f"{name}_{number:05}{SUFFIX}"
        save_trajectory(trajectory, Path(folder) / file)
        return io.NodeOutput(ui=ui.PreviewText(f"output/{subfolder}/{file}".replace("//", "/")))


class S2FlowLoadTrajectory(io.ComfyNode):
    """A saved small run, ready for its large video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowLoadTrajectory",
            display_name="S²Flow Load Trajectory",
            category=CATEGORY,
            description="Reads a low-resolution run that S²Flow Save Trajectory wrote.",
            inputs=[io.Combo.Input("file", options=listed_files(), tooltip="Newest first.")],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The low-resolution video."),
                TrajectoryType.Output(display_name="trajectory"),
            ],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        trajectory = load_trajectory(path_of(file))
        final = VideoLatent(trajectory.final, trajectory.beside)
        latent = {"samples": final.samples()}
        if trajectory.held is not None:
            latent["noise_mask"] = final.mask(trajectory.held.mask)
        return io.NodeOutput(latent, trajectory)

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if not path_of(file).is_file():
            return f"The trajectory {file} is gone; refresh the list (press R) and choose another."
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str) -> float:
        path = path_of(file)
        return path.stat().st_mtime if path.is_file() else 0.0
