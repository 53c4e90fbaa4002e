"""A chip is named as the tables of launch configurations name it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from s2flow_core.kernels.architecture import architecture_of
from s2flow_core.kernels.launch_table import SHARED_MEMORY

GPU = torch.device("cuda", 0)


@pytest.mark.parametrize(("capability", "name"), [((8, 0), "sm_80"), ((9, 0), "sm_90"), ((12, 0), "sm_120")])
def test_nvidia_chips_go_by_their_compute_capability(monkeypatch, capability, name):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert architecture_of(GPU) == name
    assert name in SHARED_MEMORY


@pytest.mark.parametrize("full_name", ["gfx942:sramecc+:xnack-", "gfx942"])
def test_amd_chips_go_by_their_name_without_its_switches(monkeypatch, full_name):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(gcnArchName=full_name)
    )
    assert architecture_of(GPU) == "gfx942"


@pytest.mark.parametrize("device", ["cpu", "meta", "mps"])
def test_what_is_no_such_gpu_goes_by_its_type(device):
    assert architecture_of(torch.device(device)) == device
