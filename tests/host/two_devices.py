"""Several "devices" of the CPU, which stand in for GPUs."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

TWO = [torch.device("cpu"), torch.device("cpu", 1)]


def always_shared(modules: Any, patch: pytest.MonkeyPatch) -> list[int]:
    """Two devices that share from the first call on; filled with the heads of every share of a helper."""
    import comfy.model_management

    patch.setattr(comfy.model_management, "get_all_torch_devices", lambda *_, **__: TWO, raising=False)
    trial = modules.pack("s2flow_core.attention.sharing.trial").Trial
    patch.setattr(trial, "shares", property(lambda one: one._shares is not False))
    patch.setattr(trial, "is_faster", lambda _: True)
    patch.setattr(trial, "learns_speeds", False)  # or luck would leave one of two heads to nobody
    helper = modules.pack("s2flow_core.attention.sharing.helper").Helper
    calls: list[int] = []
    start = helper.start

    def counting(self: Any, share: Any) -> Any:
        calls.append(len(share.heads))
        return start(self, share)

    patch.setattr(helper, "start", counting)
    return calls


def helping_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("s2flow")]
