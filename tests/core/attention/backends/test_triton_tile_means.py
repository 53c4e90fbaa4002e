"""The kernel of tile means gives what torch gives; it runs in Triton's interpreter here."""

from __future__ import annotations

import pytest
import torch
from tile_mean_cases import a_call, assert_means, random_bias
from triton_interpreter import IN_INTERPRETER, needs_triton, only_in_interpreter, pass_in_interpreter

from s2flow_core.kernels.launch_table import Launch
from s2flow_core.windows.grid import TokenGrid


@pytest.mark.skipif(IN_INTERPRETER, reason="this is the process that it starts")
@needs_triton
def test_in_the_interpreter():
    pass_in_interpreter(__file__)


@only_in_interpreter
@pytest.mark.parametrize(("masked", "dtype"), [(False, torch.float32), (True, torch.float16)])
def test_the_kernel_gives_the_same_means(masked, dtype):
    """Partial tiles along every axis, several blocks of tokens in a tile, text before the video."""
    from s2flow_core.attention.backends.triton_tile_means import kernel_tile_means

    grid = TokenGrid((3, 5, 6), (2, 4, 4))
    bias = random_bias(2 + grid.tokens, 0) if masked else None
    call = a_call(grid, 2, bias, 64, dtype)
    assert_means(call, lambda *given: kernel_tile_means(*given, launch=Launch(1, 16, 4, 1)))
