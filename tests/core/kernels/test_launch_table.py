"""The tables know every generation, and blocks always divide a tile."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2flow_core.kernels.launch_table import (
    INT8_LAUNCHES,
    INT8_PARTIAL_LAUNCHES,
    PARTIAL_LAUNCHES,
    REACH_LAUNCHES,
    SAME_GENERATION,
    SHARED_MEMORY,
    WINDOW_LAUNCHES,
    Launch,
    int8_launch,
    reach_launch,
    window_launch,
)


def test_the_table_covers_every_generation():
    assert (
        set(WINDOW_LAUNCHES)
        == set(REACH_LAUNCHES)
        == {(chip, dim) for chip in SHARED_MEMORY for dim in (64, 128)}
    )
    for chip, like in SAME_GENERATION.items():
        assert window_launch(chip, 128) == WINDOW_LAUNCHES[like, 128]
        assert reach_launch(chip, 64) == REACH_LAUNCHES[like, 64]
    assert window_launch("sm_75", 128) is None and reach_launch("sm_90", 96) is None
    assert set(PARTIAL_LAUNCHES) < set(WINDOW_LAUNCHES)
    assert window_launch("sm_121", 64, partial=True) == PARTIAL_LAUNCHES["sm_120", 64]
    assert window_launch("sm_90", 64, partial=True) == WINDOW_LAUNCHES["sm_90", 64]


def test_eight_bits_are_for_the_chips_whose_tensor_cores_gain_by_it():
    chips = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_120")
    assert set(INT8_LAUNCHES) == {(chip, dim) for chip in chips for dim in (64, 128)}
    assert int8_launch("sm_121", 64) == INT8_LAUNCHES["sm_120", 64]
    assert set(INT8_PARTIAL_LAUNCHES) < set(INT8_LAUNCHES)
    assert int8_launch("sm_121", 128, partial=True) == INT8_PARTIAL_LAUNCHES["sm_120", 128]
    assert int8_launch("sm_89", 128, partial=True) == INT8_LAUNCHES["sm_89", 128]
    assert int8_launch("sm_100", 128) is None and int8_launch("sm_89", 96) is None
    # Data centres' chips sum halves in single precision at full speed.
    halves = {chip for (chip, _), launch in INT8_LAUNCHES.items() if launch.half_sums}
    assert halves == {"sm_86", "sm_89", "sm_120"}
    assert not any(launch.half_sums for launch in WINDOW_LAUNCHES.values())


def test_blocks_divide_the_tile():
    launch = Launch(128, 64, 8, 3)
    assert launch.for_tile(128) == launch
    assert launch.for_tile(96) == Launch(32, 32, 2, 3)
    assert launch.for_tile(16) == Launch(16, 16, 1, 3)
    assert launch.for_keys(16) == Launch(128, 16, 8, 3)


@given(st.integers(1, 16), st.sampled_from(list(WINDOW_LAUNCHES.values())))
def test_blocks_are_as_large_as_the_tile_and_the_launch_allow(sixteens: int, launch: Launch):
    tile = 16 * sixteens
    fitted = launch.for_tile(tile)
    for block, wanted in ((fitted.block_m, launch.block_m), (fitted.block_n, launch.block_n)):
        assert tile % block == 0 and 16 <= block <= wanted
        assert block == wanted or tile % (2 * block)
    # As many queries per warp as before, where a block is not smaller than that.
    assert fitted.warps == max(1, launch.warps * fitted.block_m // launch.block_m)
    assert math.log2(fitted.warps).is_integer() and fitted.stages == launch.stages


@pytest.mark.parametrize("chip", ["sm_75", "gfx1100", "cpu"])
def test_an_unknown_chip_has_no_launch(chip: str):
    assert window_launch(chip, 128) is None and reach_launch(chip, 128) is None
