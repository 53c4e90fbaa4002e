"""A GPU whose tensors hold no numbers: what runs on it shows where tensors of two devices would meet."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode


class FakeGpu(TorchFunctionMode):
    """Tensors that are made on or moved to "cuda" are fake; those of the CPU stay real."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = [*kwargs.values(), *(args[1:] if func is Tensor.to else ())]
        if not any(isinstance(x, str | torch.device) and str(x).startswith("cuda") for x in asked):
            return func(*args, **kwargs)
        with self.fake:
            if func is Tensor.to:
                (dtype,) = [x for x in asked if isinstance(x, torch.dtype)] or [args[0].dtype]
                return torch.empty(args[0].shape, dtype=dtype, device="cuda")
            return func(*args, **kwargs)


def enter_fake_gpu(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    """An H100 on which kernels write nothing and every check of numbers finds none wrong."""
    from s2flow_core.attention import choice, measured_rates, probe
    from s2flow_core.attention.backends import triton_tile_means, triton_windows, triton_windows_int8
    from s2flow_core.reach import choice as reach_choice
    from s2flow_core.reach import triton_tile_sums

    for module, name in (
        (triton_windows, "window_attention"),
        (triton_windows_int8, "int8_keys"),
        (triton_tile_means, "tile_means"),
        (triton_tile_sums, "tile_sums"),
    ):
        patch.setattr(module, f"{name}_programs", lambda programs: checked_launch)
        if hasattr(module, "architecture_of"):
            patch.setattr(module, "architecture_of", lambda device: "sm_90")
    patch.setattr(torch.cuda, "device_of", lambda tensor: nullcontext())
    patch.setattr(reach_choice, "_is_right", lambda *call: True)
    patch.setattr(choice, "wrong_numbers", lambda *call: None)
    patch.setattr(choice, "rate", lambda *call: 1e12)
    patch.setattr(measured_rates, "machine", lambda device: "a fake GPU")
    patch.setattr(probe, "finish", lambda device: None)
    stack.enter_context(FakeGpu())


def checked_launch(*given: Any, **options: Any) -> None:
    """A kernel's arguments all lie on the GPU."""
    tensors = [x for x in given if isinstance(x, Tensor)]
    assert tensors and all(isinstance(x, FakeTensor) and x.device.type == "cuda" for x in tensors)
