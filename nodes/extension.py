"""The list of nodes that the pack gives to ComfyUI."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io

from .apply_windows import S2FlowApplyWindows
from .check_video import S2FlowCheckVideo
from .compare import S2FlowCompare
from .demo_prompt import S2FlowDemoPrompt
from .high_res_sampler import S2FlowHighResSampler
from .low_res_sampler import S2FlowLowResSampler
from .noise_reshift import S2FlowNoiseReshift
from .preview import S2FlowContactSheet, S2FlowPickPreview, S2FlowPreviewGate
from .refiner_sampler import S2FlowRefinerSampler
from .solver import S2FlowSolver
from .trajectory_files import S2FlowLoadTrajectory, S2FlowSaveTrajectory
from .upsample import S2FlowUpsample
from .window_mask import S2FlowWindowMask
from .window_pictures import S2FlowWindowPictures

DEMO_MODELS = Path(__file__).resolve().parent.parent / "demo" / "models"


class S2FlowExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            S2FlowLowResSampler,
            S2FlowNoiseReshift,
            S2FlowUpsample,
            S2FlowWindowMask,
            S2FlowWindowPictures,
            S2FlowHighResSampler,
            S2FlowRefinerSampler,
            S2FlowContactSheet,
            S2FlowPickPreview,
            S2FlowPreviewGate,
            S2FlowCompare,
            S2FlowCheckVideo,
            S2FlowApplyWindows,
            S2FlowSolver,
            S2FlowSaveTrajectory,
            S2FlowLoadTrajectory,
            S2FlowDemoPrompt,
        ]


def list_demo_models() -> None:
    """Makes the core loader nodes list the small models that ship with the pack."""
    for kind in ("diffusion_models", "vae"):
        folder_paths.add_model_folder_path(kind, str(DEMO_MODELS / kind))


async def comfy_entrypoint() -> S2FlowExtension:
    list_demo_models()
    return S2FlowExtension()
