"""Procedural clips, and the image processing that reads them back."""

from __future__ import annotations

import pytest
import torch

from demo.clips.observe import observe
from demo.clips.scenes import TRAIN_SIZE, draw_scene, ground_of, render
from demo.clips.styles import STYLE, Joints
from demo.clips.textures import joint_lines, octave_weight
from demo.vocabulary import all_prompts, embed_prompt, embed_word, held_out_prompts

# Every word of the vocabulary occurs among these.
SOME_PROMPTS = all_prompts()[::23]


@pytest.mark.parametrize("prompt", SOME_PROMPTS, ids=lambda prompt: "-".join(prompt.words))
def test_observer_reads_back_what_was_drawn(prompt):
    clip = render(draw_scene(11, prompt), frames=5, clip_frames=5)
    noisy = clip + 0.03 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    seen = observe(noisy)
    assert all(seen.fidelity(prompt).values()), seen
    assert seen.single


def test_observer_counts_objects():
    clip = render(draw_scene(1, all_prompts()[0]), frames=2)
    two = torch.cat([clip, clip.flip(2)], dim=2)[:, :, ::2]  # side by side, squeezed to a square
    assert observe(two).objects == (2, 2)
    ground = clip[:, :8, :8].repeat(1, 16, 16, 1)
    empty = observe(ground)
    assert empty.objects == (0, 0)
    assert (empty.color, empty.direction) == (None, None)


def test_a_still_object_has_no_direction():
    frame = render(draw_scene(3), frames=1)
    assert observe(frame.repeat(5, 1, 1, 1)).direction is None


def test_object_stays_inside_the_frame():
    for seed in range(200):
        scene = draw_scene(seed)
        for progress in (0.0, 1.0):
            for position in scene.center(progress):
                assert scene.radius * 0.9 <= position <= 1 - scene.radius * 0.9


def test_the_large_rendering_shows_finer_texture():
    scene = draw_scene(5, all_prompts()[0])
    small, large = (render(scene, size, frames=1)[0] for size in (TRAIN_SIZE, 2 * TRAIN_SIZE))
    shrunk = torch.nn.functional.avg_pool2d(large.permute(2, 0, 1), 2).permute(1, 2, 0)
    assert (shrunk - small).abs().mean() < 0.02
    back = torch.nn.functional.interpolate(small.permute(2, 0, 1)[None], scale_factor=2, mode="bilinear")
    assert (back[0].permute(1, 2, 0) - large).abs().mean() > 0.01


def test_octaves_fade_where_they_would_alias():
    assert octave_weight(3.9) == 0
    assert octave_weight(8.0) == 1
    assert 0 < octave_weight(5.5) < 1


def test_a_crop_is_a_part_of_the_whole():
    scene = draw_scene(9)
    whole = render(scene, 64, frames=2)
    assert torch.allclose(render(scene, 64, frames=2, crop=(16, 8, 32)), whole[:, 8:40, 16:48], atol=1e-6)


def test_held_out_prompts_use_every_word():
    held_out = held_out_prompts()
    assert len(set(held_out)) == len(held_out) == 32
    words = {word for prompt in held_out for word in prompt.words}
    assert words == {word for prompt in all_prompts() for word in prompt.words}


def test_embeddings_are_fixed_and_distinct():
    assert torch.equal(embed_word("red"), embed_word("red"))
    assert not torch.equal(embed_word("red"), embed_word("blue"))
    assert embed_prompt(None).count_nonzero() == 0
    assert embed_prompt(all_prompts()[0]).shape == (1, 4, 4096)


@pytest.mark.parametrize("prompt", SOME_PROMPTS, ids=lambda prompt: "-".join(prompt.words))
@pytest.mark.parametrize("size", [(96, 96), (112, 192), (192, 112)], ids=str)
def test_observer_reads_rich_scenes_of_every_shape(prompt, size):
    scene = draw_scene(12, prompt, STYLE, size[1] / size[0])
    seen = observe(render(scene, size, frames=5, clip_frames=5))
    assert all(seen.fidelity(prompt).values()), seen
    assert seen.single


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.75])
def test_rich_objects_stay_inside_their_frame(aspect):
    for seed in range(200):
        scene = draw_scene(seed, style=STYLE, aspect=aspect)
        for progress in (0.0, 0.25, 0.5, 0.75, 1.0):
            for position, edge in zip(scene.center(progress), (aspect, 1.0), strict=True):
                assert scene.radius * 0.9 <= position <= edge - scene.radius * 0.9


def test_a_wide_frame_shows_more_of_the_same_ground():
    """Waves and lines are tied to the frame's height."""
    prompt = all_prompts()[4]
    square, wide = (draw_scene(4, prompt, STYLE, aspect) for aspect in (1.0, 1.5))
    y = ((torch.arange(64) + 0.5) / 64)[:, None]
    x = ((torch.arange(96) + 0.5) / 64)[None, :]
    assert torch.allclose(ground_of(wide, x, y, 64)[:, :64], ground_of(square, x[:, :64], y, 64), atol=1e-6)


def test_a_scene_is_refused_by_a_frame_of_another_shape():
    with pytest.raises(ValueError, match="aspect=96/64"):
        render(draw_scene(1), (64, 96))


def test_lines_cover_what_they_are_wide():
    joints = Joints(spacing=0.25, width=0.02, depth=0.5)
    x = ((torch.arange(400) + 0.5) / 400)[None, :]
    for degrees in (0.0, 30.0):
        lines = joint_lines(x, x.T, joints, degrees, 400)
        # A pixel is clear where it lies in neither direction's lines.
        assert lines.mean().item() == pytest.approx(0.5 * (1 - (1 - 0.02 / 0.25) ** 2), rel=0.05)
        assert lines.max().item() == pytest.approx(0.5)
