"""Sizes are whole patches, and wrong ones name the right ones and the memory they need."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.latent.flow import renoise, shifted_sigmas
from s2flow_core.solver.flow_solver import FlowSolver
from s2flow_core.transition.sizes import LatentVideo, check_memory, memory_needed, shrunk_size, target_size

LOW_H, LOW_W = 30, 52
LOW = LatentVideo((1, 4, 3, LOW_H, LOW_W), (1, 2, 2))


@given(st.floats(1.0, 6.0))
def test_every_scale_gives_a_valid_size(scale: float):
    size = target_size(LOW, 8, scale=scale)
    assert size.latent_height % 2 == 0 and size.latent_width % 2 == 0
    assert size.latent_height >= LOW_H and size.latent_width >= LOW_W
    assert abs(size.latent_height - scale * LOW_H) <= 1 and abs(size.latent_width - scale * LOW_W) <= 1
    assert (size.height, size.width) == (8 * size.latent_height, 8 * size.latent_width)
    assert size.scale == pytest.approx(scale, rel=0.03)
    same = target_size(LOW, 8, width=size.width, height=size.height)
    assert same == size


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_named_size_is_valid(width: int, height: int):
    try:
        size = target_size(LOW, 8, width=width, height=height)
        assert (size.width, size.height) == (width, height)
    except ValueError as problem:
        nearest_w, nearest_h = str(problem).rstrip(".").split(" ")[-1].split("×")
        target_size(LOW, 8, width=int(nearest_w), height=int(nearest_h))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": 0.5}, "scale is 0.5"),
        ({"scale": math.nan}, "scale is nan"),
        ({"scale": math.inf}, "scale is inf"),
        ({"width": 400, "height": 224}, "smaller than the low-resolution video .416×240.*416×240"),
        ({"width": 840, "height": 480}, "multiples of 16×16 pixels. The nearest valid size is 832×480"),
        ({"width": 832, "height": 832}, "would stretch .*416×240. The nearest valid size is 832×480"),
        ({"width": 480, "height": 832}, "would stretch .*416×240. The nearest valid size is 480×272"),
        ({"width": 832}, "both a width and a height"),
        ({}, "either a scale"),
    ],
)
def test_wrong_sizes_are_named(arguments: dict, words: str):
    with pytest.raises(ValueError, match=words):
        target_size(LOW, 8, **arguments)


@pytest.mark.parametrize("shape", [(1, 16, 5, 32, 48), (2, 4, 3, 24, 24)])
def test_the_memory_of_latents_is_what_a_guided_run_keeps_from_step_to_step(shape):
    """Counted in a run of order 3 with classifier-free guidance: nothing less can be enough."""
    video = LatentVideo(shape, (1, 2, 2))
    sigmas, solver = shifted_sigmas(4, 3.0), FlowSolver(3, "history")
    with LiveMemory() as memory:
        clean, noise = torch.randn(shape), torch.randn(shape)
        state = renoise(clean, noise, sigmas[0])
        for step in range(4):
            positive, negative = state * 0.9, state * 0.8
            denoised = negative + (positive - negative) * 5
            state = solver.step(state, denoised, sigmas, step)
        kept = memory.live
    needed = memory_needed(video, target_size(video, 8, scale=1))
    assert kept == pytest.approx(needed, rel=0.001)
    assert needed < memory.peak


def test_frames_in_pixels_are_counted_before_and_after_resizing():
    size = target_size(LOW, 8, scale=2)
    assert (size.width, size.height) == (832, 480)
    frames = memory_needed(LOW, size, pixel_frames=9) - memory_needed(LOW, size)
    assert frames == 2 * 9 * 480 * 832 * 3 * 4  # float32


def test_a_size_beyond_memory_says_what_is_needed_and_what_is_there():
    size = target_size(LOW, 8, scale=64)
    needed = memory_needed(LOW, size)
    check_memory(LOW, size, needed)
    with pytest.raises(ValueError, match=r"scale 64\) needs at least .* GiB .* this machine has 1\.00 GiB"):
        check_memory(LOW, size, 2**30)


@pytest.mark.parametrize(
    ("pixels", "scale", "becomes"),
    [
        ((480, 832), 0.5, (240, 416)),
        ((832, 480), 0.45, (368, 224)),
        ((480, 832), 0.75, (352, 624)),
        ((720, 1280), 0.5, (352, 640)),
        ((720, 1280), 0.75, (544, 960)),
        ((240, 416), 0.5, (128, 208)),
        ((1440, 1440), 0.7, (1008, 1008)),
        ((1600, 1600), 0.55, (880, 880)),
    ],
)
def test_a_scale_goes_to_the_nearest_whole_patches(pixels, scale: float, becomes):
    size = (pixels[0] // 8, pixels[1] // 8)
    shrunk = shrunk_size(size, (2, 2), 8, scale)
    assert (shrunk[0] * 8, shrunk[1] * 8) == becomes
    assert shrunk_size(size, (2, 2), 8, wanted=becomes) == shrunk


@given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 3), st.integers(1, 20))
def test_a_scale_gives_whole_patches_no_further_away_than_half_a_patch(
    height: int, width: int, patch: int, twentieths: int
):
    size = (height * patch, width * patch)
    shrunk = shrunk_size(size, (patch, patch), 8, twentieths * 0.05)
    pixels = (shrunk[0] * 8, shrunk[1] * 8)
    assert shrunk_size(size, (patch, patch), 8, wanted=pixels) == shrunk
    for small, large in zip(shrunk, size, strict=True):
        assert 0 < small <= large and small % patch == 0
        # In whole numbers: |small - large·twentieths/20| <= patch/2, or the one patch that must remain.
        assert abs(20 * small - large * twentieths) <= 10 * patch or small == patch


def test_a_size_that_breaks_the_patches_names_the_nearest():
    with pytest.raises(ValueError, match=r"416×240 would become 208×120.*patches of 16×16.*is 208×128"):
        shrunk_size((30, 52), (2, 2), 8, wanted=(120, 208))
    with pytest.raises(ValueError, match="nearest valid size is 208×128"):
        shrunk_size((30, 52), (2, 2), 8, wanted=(130, 208))
    with pytest.raises(ValueError, match="nearest valid size is 416×240"):
        shrunk_size((30, 52), (2, 2), 8, wanted=(480, 832))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(1, 1000), st.integers(1, 1000))
def test_the_named_size_is_valid_and_another_one(height: int, width: int, patch: int, down: int, across: int):
    size = (height * patch, width * patch)
    try:
        shrunk = shrunk_size(size, (patch, patch), 8, wanted=(down, across))
    except ValueError as error:
        words = str(error).split("nearest valid size is ")[1].split(":")[0]
        named_across, named_down = (int(word) for word in words.split("×"))
        assert (named_down, named_across) != (down, across)
        down, across = named_down, named_across
        shrunk = shrunk_size(size, (patch, patch), 8, wanted=(down, across))
    assert (shrunk[0] * 8, shrunk[1] * 8) == (down, across)
    assert all(0 < small <= large and small % patch == 0 for small, large in zip(shrunk, size, strict=True))


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.5, float("nan"), None])
def test_a_scale_that_does_not_shrink_is_named(scale):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        shrunk_size((32, 32), (2, 2), 8, scale)


@pytest.mark.parametrize("wanted", [(240, 240), (416, 240)])
def test_a_smaller_size_that_would_stretch_is_named(wanted):
    with pytest.raises(ValueError, match=r"no smaller size in its proportions.* valid size is 240×144:"):
        shrunk_size((60, 104), (2, 2), 8, wanted=wanted)
