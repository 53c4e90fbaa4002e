"""What the eye sees in a clip, measured on renderings with a deliberate fault of known size."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from demo.clips.ghosts import ghost, motion_of_observation, motion_of_scene
from demo.clips.grounds import as_many_waves, blotches, leading_waves
from demo.clips.observe import observe
from demo.clips.outlines import outline_length, raggedness
from demo.clips.scenes import draw_scene, render
from demo.clips.styles import STYLE
from demo.vocabulary import Prompt

FRAMES = 9
CASES = [
    Prompt("red", "circle", "left", "sand"),
    Prompt("yellow", "square", "down", "stone"),
    Prompt("white", "triangle", "right", "water"),
    Prompt("purple", "square", "up", "grass"),
]
EVERY_GROUND = pytest.mark.parametrize("prompt", CASES, ids=lambda prompt: prompt.ground)


def clip_of(prompt, size=128, frames=FRAMES, seed=7):
    aspect = size[1] / size[0] if isinstance(size, tuple) else 1.0
    return render(draw_scene(seed, prompt, aspect=aspect), size, frames=frames, clip_frames=frames)


@EVERY_GROUND
@pytest.mark.parametrize("size", [64, 128, 256, (112, 192), (192, 112)], ids=str)
def test_a_rendering_shows_the_scenes_waves(prompt, size):
    aspect = size[1] / size[0] if isinstance(size, tuple) else 1.0
    scene = draw_scene(7, prompt, aspect=aspect)
    assert leading_waves(render(scene, size, frames=1)) == pytest.approx(scene.leading_waves, rel=0.05)
    fewest, most = STYLE.leading_waves
    assert as_many_waves(scene.leading_waves, fewest, most)


@EVERY_GROUND
@pytest.mark.parametrize("factor", [0.5, 2])
def test_other_waves_are_counted_and_refused(prompt, factor):
    scene = draw_scene(7, prompt, replace(STYLE, ground_scale=(factor, factor)))
    clip = render(scene, 192, frames=1)
    waves = STYLE.ground_octaves[0][0]
    assert leading_waves(clip) == pytest.approx(waves * factor, rel=0.07)
    assert not as_many_waves(leading_waves(clip), waves)
    assert as_many_waves(leading_waves(clip), waves * factor)
    assert as_many_waves(leading_waves(clip), waves / 2, waves * 2)


def test_the_middle_of_the_grounds_scales_is_drawn_oftenest():
    scales = torch.tensor([draw_scene(seed).ground_scale for seed in range(400)])
    low, high = STYLE.ground_scale
    places = (scales / low).log() / math.log(high / low)
    assert low <= scales.min() < scales.max() <= high
    # Two even draws: the middle half holds three quarters.
    assert ((places > 0.25) & (places < 0.75)).float().mean() == pytest.approx(0.75, abs=0.06)


@EVERY_GROUND
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_blotches_are_as_high_as_they_were_laid_on(prompt, scale):
    scene = replace(draw_scene(7, prompt), ground_scale=scale)
    waves = scene.leading_waves
    clean = render(scene, frames=2)
    across = torch.arange(128) / 128
    for height in (0.05, 0.1):
        blotch = height * torch.sin(2 * math.pi * 1.5 * across)[None, None, :, None]
        spotted = clean + blotch * torch.tensor([0.0, 1.0, 0.0])
        # One colour of three, a sine's mean square of a half, and what the blur leaves of 1.5 waves.
        expected = height * math.sqrt(1 / 6) * math.exp(-2 * (math.pi * 0.45 * 1.5 / waves) ** 2)
        assert blotches(spotted, waves) == pytest.approx(expected, rel=0.3)
        assert blotches(spotted, waves) > 1.8 * blotches(clean, waves)


@EVERY_GROUND
@pytest.mark.parametrize("size", [96, 128, 256])
def test_a_drawn_outline_is_not_ragged(prompt, size):
    assert raggedness(clip_of(prompt, size, frames=3)) == pytest.approx(1, abs=0.12)


def test_an_outline_has_its_known_length():
    row, column = torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij")
    disc = (torch.hypot(row - 100, column - 100) < 60).numpy()
    assert outline_length(disc) == pytest.approx(2 * math.pi * 60, rel=0.02)


def test_a_ragged_outline_is_longer():
    clip = clip_of(CASES[0], frames=1)
    row, column = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    # Each line of pixels slips sideways: a saw of 4 pixels' depth on the outline.
    slip = (4 * ((row // 4) % 2)).long()
    ragged = clip[0][row.long(), (column.long() - slip) % 128][None]
    smooth, rough = raggedness(clip), raggedness(ragged)
    assert smooth and rough
    assert rough > 1.25 * smooth


@EVERY_GROUND
def test_a_rendering_has_no_ghost(prompt):
    scene = draw_scene(3, prompt)
    clip = render(scene)
    assert ghost(clip, motion_of_scene(scene, len(clip))) == pytest.approx(1, abs=0.25)


@EVERY_GROUND
def test_a_trace_of_the_frame_before_is_a_ghost(prompt):
    scene = draw_scene(3, prompt)
    clip = render(scene)
    motion = motion_of_scene(scene, len(clip))
    figures = [ghost(clip, motion)]
    for share in (0.15, 0.4):
        haunted = clip.clone()
        haunted[1::4] = torch.lerp(clip[1::4], clip[0:-1:4], share)
        figures.append(ghost(haunted, motion))
    assert figures[0] * 1.2 < figures[1] < figures[2]


@EVERY_GROUND
def test_the_observed_motion_is_the_true_one(prompt):
    scene = draw_scene(5, prompt)
    clip = render(scene)
    true, seen = motion_of_scene(scene, len(clip)), motion_of_observation(observe(clip), len(clip))
    assert seen is not None
    assert seen.shape == true.shape
    assert seen.radius == pytest.approx(true.radius, rel=0.06)
    assert (seen.centers - true.centers).abs().max() < 0.02


def test_without_an_object_there_is_nothing_to_measure():
    ground = clip_of(CASES[0])[:, :8, :8].repeat(1, 16, 16, 1)
    assert raggedness(ground) is None
    assert motion_of_observation(observe(ground), FRAMES) is None
