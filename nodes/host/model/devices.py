"""The devices of this machine that can compute."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import torch

log = logging.getLogger(__name__)


def all_devices() -> list[torch.device]:
    """Every GPU that ComfyUI may use; on machines without any, what it computes on."""
    listed = getattr(comfy.model_management, "get_all_torch_devices", None)
    if listed is not None:
        return list(listed())
    own = comfy.model_management.get_torch_device()  # earlier versions know one
    if own.type != "cuda":
        return [own]
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def gpus_to_use(asked: int) -> int:
    """How many GPUs share the attention; 0 takes all. Says so where more are asked for than there are."""
    found = len(all_devices())
    if asked > found:
        log.warning(
            "gpus is %d, but ComfyUI sees %d here, so S²Flow uses %s. Set gpus to 0 to take all there are.",
            asked,
            found,
            "that one" if found == 1 else f"those {found}",
        )
    return found if asked == 0 else min(asked, found)


def helpers_of(patcher: Any, gpus: int) -> dict[torch.device, list[torch.device]]:
    """For every device that runs the model, those that help it with its attention.

    Under core's MultiGPU CFG Split several devices run the model; those that are left are dealt out in turn.
    """
    clones = getattr(patcher, "get_additional_models_with_key", lambda _: [])("multigpu")
    running = list(dict.fromkeys([patcher.load_device, *(clone.load_device for clone in clones)]))
    free = [device for device in all_devices() if device not in running]
    free = free[: max(gpus - len(running), 0)]
    helped = {main: free[number :: len(running)] for number, main in enumerate(running)}
    return {main: devices for main, devices in helped.items() if devices}
