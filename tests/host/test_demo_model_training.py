"""Training of the small models: what it trains on, and what it starts from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from demo.files import VAE_FILE
from demo.vocabulary import embed_prompt, held_out_prompts

SMALL = {"dim": 128, "ffn_dim": 64, "num_heads": 1}


@pytest.fixture(scope="module")
def bucket():
    from training.demo_models.latents import Bucket

    return Bucket(32, 48, clips=3, share=1)


def test_buckets_fit_the_model_and_hide_the_size_that_is_enlarged_to(comfy_modules):
    from training.demo_models.latents import BUCKETS

    assert all(bucket.height % 16 == bucket.width % 16 == 0 for bucket in BUCKETS)
    assert min(min(bucket.height, bucket.width) for bucket in BUCKETS) == 64
    assert max(max(bucket.height, bucket.width) for bucket in BUCKETS) == 192
    assert {bucket.height < bucket.width for bucket in BUCKETS if bucket.height != bucket.width} == {
        True,
        False,
    }
    assert next(bucket for bucket in BUCKETS if bucket.name == "128x128").tokens == 5 * 8 * 8


def test_latents_go_on_where_a_stopped_run_was(comfy_modules, bucket, tmp_path):
    from training.demo_models.latents import encode_buckets

    both = (bucket, replace(bucket, height=48, width=32))
    whole = encode_buckets(both, VAE_FILE, folder=tmp_path / "whole")  # each (3, 16, 5, h, w)
    assert [latents.shape for latents in whole] == [(3, 16, 5, 4, 6), (3, 16, 5, 6, 4)]
    encode_buckets((replace(bucket, clips=1),), VAE_FILE, folder=tmp_path / "parts")
    parts = encode_buckets(both, VAE_FILE, folder=tmp_path / "parts")
    for one, other in zip(parts, whole, strict=True):
        assert (one - other).abs().mean() < 0.01, "alone and together are rounded differently"
    again = encode_buckets(both, VAE_FILE, folder=tmp_path / "parts")
    assert all(map(torch.equal, again, parts))


def test_latents_of_a_run_stopped_between_two_batches_are_the_same(
    comfy_modules, bucket, tmp_path, monkeypatch
):
    from training.demo_models import latents

    monkeypatch.setattr(latents, "ENCODED_AT_ONCE", 1)
    (whole,) = latents.encode_buckets((bucket,), VAE_FILE, folder=tmp_path / "whole")
    latents.encode_buckets((replace(bucket, clips=2),), VAE_FILE, folder=tmp_path / "parts")
    (parts,) = latents.encode_buckets((bucket,), VAE_FILE, folder=tmp_path / "parts")
    assert torch.equal(parts, whole)


def test_clips_are_encoded_together_up_to_the_next_stop(comfy_modules, bucket, monkeypatch):
    from training.demo_models import latents

    monkeypatch.setattr(latents, "ENCODED_AT_ONCE", 2)
    other = replace(bucket, height=48, width=32)
    clips = [(bucket, 1), (bucket, 2), (bucket, 3), (other, 0), (other, 1), (other, 2)]
    numbers = [[number for _, number in group] for group in latents.batches(clips)]
    assert numbers == [[1], [2, 3], [0, 1], [2]]


def test_latents_of_another_vae_or_of_other_clips_are_not_used(comfy_modules, bucket, tmp_path, monkeypatch):
    from training.demo_models import latents

    right = latents.encode_buckets((bucket,), VAE_FILE, folder=tmp_path)[0]
    path = tmp_path / f"{bucket.name}.pt"
    torch.save({"latents": torch.zeros_like(right), "made with": "another"}, path)
    assert torch.equal(latents.encode_buckets((bucket,), VAE_FILE, folder=tmp_path)[0], right)
    finer = replace(latents.STYLE, ground_scale=(3.0, 3.0))
    monkeypatch.setattr(latents, "STYLE", finer)
    others = latents.encode_buckets((bucket,), VAE_FILE, folder=tmp_path)[0]
    assert others.shape == right.shape and not torch.equal(others, right)


def test_outlines_weigh_more_than_ground(comfy_modules, bucket):
    from training.demo_models.latents import OUTLINE_WEIGHT, outline_weights, scene_of_clip

    scene = scene_of_clip(bucket, 0)
    weights = outline_weights(scene, 32, 48)
    assert weights.shape == (1, 5, 4, 6)
    assert weights.min() >= 1
    assert weights.max() <= 1 + OUTLINE_WEIGHT
    x, y = (float(value) for value in scene.center(0.0))
    finer = outline_weights(scene, 320, 480)[0, 0]
    assert finer[int(y * 40), int(x * 40)] < 1.01, "the middle of the object is no outline"
    edge = int((x + scene.radius * (0.886 if scene.prompt.shape == "square" else 1)) * 40)
    if scene.prompt.shape != "triangle":
        assert finer[int(y * 40), edge] > OUTLINE_WEIGHT / 2


def test_batches_come_from_the_step_alone_and_some_lose_their_prompt(comfy_modules):
    from training.demo_models.dit import DROP_PROMPT, Clips, draw_batch

    prompts = torch.cat([embed_prompt(prompt) for prompt in held_out_prompts()])
    clips = Clips(torch.randn(32, 16, 1, 2, 2), prompts, torch.ones(32, 1, 1, 2, 2))
    batches = [draw_batch(clips, 2, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(batches[0].latents, batches[1].latents)
    assert torch.equal(batches[0].noise, batches[1].noise)
    prompts_drawn = batches[0].prompts  # (500, 4, TEXT_WIDTH)
    dropped = (prompts_drawn.abs().sum(dim=(1, 2)) == 0).float().mean().item()
    assert dropped == pytest.approx(DROP_PROMPT, abs=0.04)


def test_layers_that_a_file_lacks_begin_without_effect(comfy_modules, tmp_path):
    from training.demo_models.dit import start_weights
    from training.wan import new_dit, save_half

    torch.manual_seed(0)
    shallow = new_dit(**SMALL, num_layers=1).half().float().eval()
    torch.nn.init.normal_(shallow.head.head.weight, std=0.02)
    save_half(shallow.state_dict(), tmp_path / "shallow.safetensors", "shallow")
    deep = new_dit(**SMALL, num_layers=2).eval()
    start_weights(deep, tmp_path / "shallow.safetensors")
    x, context = torch.randn(1, 16, 2, 4, 4), embed_prompt(held_out_prompts()[0])
    with torch.no_grad():
        ours, theirs = (model(x, torch.tensor([500.0]), context) for model in (deep, shallow))
    assert theirs.abs().max() > 0.01
    assert torch.allclose(ours, theirs, atol=1e-3)
    with pytest.raises(SystemExit, match="other layers"):
        start_weights(new_dit(**SMALL, num_layers=0), tmp_path / "shallow.safetensors")


def test_crops_come_from_the_step_alone_and_lie_in_their_frame(comfy_modules):
    from training.demo_models.vae import CROP, SIZES, crops, place

    batch = crops(3, 2, 5)
    assert batch.shape == (2, 3, 5, CROP, CROP)
    assert torch.equal(batch, crops(3, 2, 5))
    assert not torch.equal(batch, crops(4, 2, 5))
    generator = torch.Generator().manual_seed(0)
    for size in SIZES:
        for _ in range(50):
            corner = place(torch.rand(3, generator=generator), (0.9, 0.1), size)
            assert all(0 <= edge <= size - CROP for edge in corner)


def test_first_frames_of_latent_groups_count_more():
    from training.demo_models.vae import FIRST_FRAME_WEIGHT, frame_weights

    weights = frame_weights(17).flatten()
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[[1, 5, 9, 13]] / weights[0]).tolist() == pytest.approx([FIRST_FRAME_WEIGHT] * 4)


def test_the_dit_trains_reports_and_is_exported(comfy_modules, bucket, tmp_path, monkeypatch):
    from functools import partial

    from safetensors.torch import load_file

    from training.demo_models import dit

    monkeypatch.setattr(dit, "BUCKETS", (bucket, replace(bucket, height=48, width=32)))
    monkeypatch.setattr(dit, "VALIDATION_SIZES", (32, 64))
    monkeypatch.setattr(dit, "encode_buckets", partial(dit.encode_buckets, folder=tmp_path / "latents"))
    monkeypatch.setattr(dit, "new_dit", partial(dit.new_dit, **SMALL, num_layers=1))
    monkeypatch.setattr(dit, "TOKENS", 40)
    monkeypatch.setattr(dit, "WORK", tmp_path)
    monkeypatch.setattr(dit, "CHECKPOINT", tmp_path / "dit.pt")
    average = dit.train_dit(steps=2)
    held_out = {size: dit.held_out_clips(size, VAE_FILE) for size in (32, 64)}
    assert dit.validation(average, held_out) == dit.validation(average, held_out)
    assert "64: " in dit.validation(average, held_out)
    trained = load_file(tmp_path / "s2flow_demo_wan_t2v.safetensors")
    assert trained["head.head.weight"].abs().max() > 0, "the head starts at zero and learns"
    dit.export_checkpoint(tmp_path / "exported.safetensors")
    exported = load_file(tmp_path / "exported.safetensors")
    assert all(torch.equal(exported[name], value) for name, value in trained.items())
    with pytest.raises(SystemExit, match="--start"):
        dit.train_dit(steps=2, start=tmp_path / "exported.safetensors")
    monkeypatch.setattr(dit, "DROP_PROMPT", 0.7)
    with pytest.raises(SystemExit, match="constants of the recipe"):
        dit.train_dit(steps=2)


def test_the_vae_trains_and_is_exported(comfy_modules, tmp_path, monkeypatch):
    from training.demo_models import vae
    from training.machine import Machine
    from training.wan import read_vae

    monkeypatch.setattr(vae, "STAGE_BATCH", {"frames": (2, 1), "clips": (1, 5)})
    monkeypatch.setattr(vae, "SCALE_CLIPS", 1)
    monkeypatch.setattr(vae, "DIM", 8)
    monkeypatch.setattr(vae, "WORK", tmp_path)
    vae.train_vae(steps=2, machine=Machine("cpu", renderers=1))
    trained = read_vae(tmp_path / VAE_FILE.name)
    assert all(word in vae.validation(trained) for word in ("256: ", "dB, detail ", "first frames "))
    vae.export_checkpoint(tmp_path / "exported.safetensors")
    exported = read_vae(tmp_path / "exported.safetensors").state_dict()
    assert all(torch.equal(exported[name], value) for name, value in trained.state_dict().items())


def test_a_vaes_checkpoint_knows_its_clips(comfy_modules, monkeypatch):
    """Each change alone gives other settings, with which the loop refuses to go on."""
    from training.demo_models import vae

    seen: list[dict[str, str]] = []
    monkeypatch.setattr(vae, "train_stage", lambda model, stage, steps, settings, _: seen.append(settings))
    monkeypatch.setattr(vae, "export_vae", lambda model, path: None)
    vae.train_vae(start=VAE_FILE)
    vae.train_vae(start=VAE_FILE)
    assert seen[0] == seen[1]
    changes = {"STYLE": replace(vae.STYLE, radius=(0.3, 0.4)), "CROP": 32, "OBJECT_SHARE": 0.1}
    for name, value in (changes | {"DETAIL_WEIGHT": 0.0, "LATENT_NOISE": 0.05}).items():
        with monkeypatch.context() as changed:
            changed.setattr(vae, name, value)
            vae.train_vae(start=VAE_FILE)
        assert seen[-1] != seen[0], name


def test_an_error_of_fine_lines_counts_more_than_one_of_brightness(comfy_modules):
    from training.demo_models.vae import DETAIL_WEIGHT, visible_error

    even = torch.full((1, 3, 5, 8, 8), 0.1)
    lines = even.clone()
    lines[..., ::2] *= -1
    weights = torch.ones(5, 1, 1)
    assert visible_error(even, weights).item() == pytest.approx(0.01 + 0.05 * 0.1)
    for error in (lines, lines.mT):
        assert visible_error(error, weights).item() == pytest.approx(0.015 + DETAIL_WEIGHT * 0.04)
