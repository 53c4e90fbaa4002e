"""The kernel of tile means gives what torch gives, in Triton's interpreter or compiled on a GPU."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import moved
from tile_mean_cases import a_call, assert_means, random_bias
from triton_interpreter import (
    ON_A_GPU,
    needs_triton,
    on_device,
    only_where_kernels_run,
    pass_in_interpreter,
    starts_interpreter,
)

from s2flow_core.attention.call import AttentionCall
from s2flow_core.kernels.launch_table import Launch
from s2flow_core.windows.grid import TokenGrid


@starts_interpreter
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


@only_where_kernels_run
@pytest.mark.parametrize(
    ("masked", "dtype"),
    [(False, torch.float32), (True, torch.float16), (True, torch.bfloat16)][: 3 if ON_A_GPU else 2],
)
def test_the_kernel_gives_the_same_means(masked, dtype):
    """Partial tiles along every axis, several blocks of tokens in a tile, text before the video."""
    from s2flow_core.attention.backends.triton_tile_means import kernel_tile_means

    grid = TokenGrid((3, 5, 6), (2, 4, 4))
    bias = random_bias(2 + grid.tokens, 0) if masked else None
    call = a_call(grid, 2, bias, 64, dtype)

    def by_kernel(call: AttentionCall, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        written = on_device(keys), on_device(values)
        log_weight = kernel_tile_means(moved(call), *written, launch=Launch(1, 16, 4, 1))
        for there, here in zip(written, (keys, values), strict=True):
            here.copy_(there)
        return log_weight.cpu()

    assert_means(call, by_kernel)
