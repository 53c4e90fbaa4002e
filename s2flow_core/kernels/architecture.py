"""What a GPU is called in the tables of launch configurations."""

from __future__ import annotations

import torch


def architecture_of(device: torch.device) -> str:
    """A Hopper chip is "sm_90", an MI300 "gfx942"; what is no such GPU goes by its device's type."""
    if device.type != "cuda":
        return device.type
    if torch.version.hip:
        return torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
