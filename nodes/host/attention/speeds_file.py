"""Where what was measured of the attention on this machine is kept: in ComfyUI's user folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import folder_paths

from ....s2flow_core.attention.measured_rates import MeasuredRates

FILE = "s2flow_attention_speeds.json"


@cache
def measured_rates() -> MeasuredRates:
    return MeasuredRates(Path(folder_paths.get_user_directory()) / FILE)
