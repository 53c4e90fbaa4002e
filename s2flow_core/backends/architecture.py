"""What a GPU is called in the tables of launch configurations."""

from __future__ import annotations

import torch


def architecture_of(device: torch.device) -> str:
    """ "sm_90" for a Hopper chip, "gfx942" for an MI300; the device's type where it is no GPU of either kind."""
    if device.type != "cuda":
        return device.type
    if torch.version.hip:
        return torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
