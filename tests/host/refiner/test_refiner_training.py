"""Training of a Refiner from a folder of videos to files that core's loaders take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_refiner import SMALL, train_here
from torch import Tensor

from comfyui_runner.installation import ROOT
from training.loop import Schedule
from training.refiner import video_training


def output(path: Path, lora: Path | None = None) -> Tensor:
    """What a model computes from one fixed input, as core's loaders read it."""
    import comfy.sd
    import comfy.utils

    patcher = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float32})
    if lora is not None:
        weights = comfy.utils.load_torch_file(str(lora))
        patcher, _ = comfy.sd.load_lora_for_models(patcher, None, weights, 1.0, 0.0)
        patcher.patch_model(device_to=torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    state, text = (
        torch.randn(1, 16, 2, 4, 4, generator=generator),
        torch.randn(1, 3, 4096, generator=generator),
    )
    with torch.no_grad():
        return patcher.model.diffusion_model(state, torch.tensor([400.0]), text)


@pytest.fixture(scope="module")
def trained(videos: Path, tmp_path_factory) -> tuple[Path, str]:
    """From the command line, in a process of its own."""
    out = tmp_path_factory.mktemp("out") / "light.safetensors"
    options = (
        "--dim",
        128,
        "--layers",
        2,
        "--stages",
        "5:2,9:2",
        "--batch",
        2,
        "--checkpointing",
        "--window",
        2,
    )
    command = ("--threads", 1, "--videos", videos, "--out", out, *SMALL, *options)
    run = subprocess.run(
        [sys.executable, "-m", "training.refiner", *map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return out, run.stdout


def test_a_folder_of_videos_becomes_a_checkpoint_that_core_loads(comfy_modules, trained):
    import comfy.sd

    out, said = trained
    assert "1 video skipped: 1 × cannot be read" in said
    assert "CFG 1 and a zeroed conditioning" in said
    assert "modes for it are flow_map and flashvideo" in said
    model = comfy.sd.load_diffusion_model(str(out))
    assert type(model.model.diffusion_model).__name__ == "WanModel"
    assert len(model.model.diffusion_model.blocks) == 2
    weights = model.model.diffusion_model.head.head.weight
    assert torch.isfinite(weights).all() and weights.abs().sum() > 0


def test_a_lora_loads_through_cores_loader_and_changes_the_model(comfy_modules, base, videos, tmp_path):
    """Its effect is that of the factors added to the weights by hand."""
    lora, merged = tmp_path / "lora.safetensors", tmp_path / "merged.safetensors"
    train_here(videos, lora, "--model", base, "--lora", 4, "--stages", "5:3", "--rate", 1.0)
    factors, weights = load_file(lora), load_file(base)
    layers = {name.rpartition(".lora_")[0] for name in factors}
    assert len(layers) == 2 * 10  # q, k, v, o twice and two of the ffn, per layer
    for layer in layers:
        down, up = (factors[f"{layer}.lora_{factor}.weight"].float() for factor in "AB")
        weights[f"{layer.removeprefix('diffusion_model.')}.weight"] += up @ down
    save_file(weights, merged)
    before, after, by_hand = output(base), output(base, lora), output(merged)
    assert (after - before).abs().mean() > 0.01 * before.abs().mean()
    assert (after - by_hand).abs().mean() < 0.05 * (after - before).abs().mean()


def test_full_weights_of_an_existing_model_are_trained_from_where_they_are(base, videos, tmp_path):
    out, rate, steps = tmp_path / "full.safetensors", 0.1, 3
    train_here(videos, out, "--model", base, "--stages", f"5:{steps}", "--rate", rate)
    schedule = Schedule(steps, rate, decay_share=0.0)
    way = sum(schedule.rate(step) for step in range(steps))
    before, after = load_file(base), load_file(out)
    assert before.keys() == after.keys()
    for name in before:
        difference = (after[name].float() - before[name].float()).abs().max()
        # Adam moves a weight by at most about its rate in a step, and files are half precision.
        assert difference <= 1.5 * way + 1e-3 * before[name].abs().max(), name
    assert (output(out) - output(base)).abs().mean() > 0.01 * output(base).abs().mean()


@pytest.fixture(scope="module")
def finished(base, videos, tmp_path_factory) -> Path:
    """A short training on a folder of its own, and its file."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("videos", "renamed"):
        shutil.copytree(videos, folder / name)
    (folder / "renamed" / "clip1.mp4").rename(folder / "renamed" / "clip2.mp4")
    train_here(folder / "videos", folder / "light.safetensors", "--model", base, "--stages", "5:2")
    return folder


OTHER_SETTINGS = {
    "--lora 2": r"--lora: 0 then, 2 now",
    "--rate 1e-3": r"--rate: 5e-05 then, 0.001 now",
    "--window 1": r"--window: 0 then, 1 now",
    "--scale 4": r"--scale: 2.0 then, 4.0 now",
    "--noise-share 0.5": r"--noise-share: 0.4 then, 0.5 now",
    "--model {trained}": r"--model: file \w+ then, file \w+ now",
    "--videos {finished}/renamed": r"--videos: 3 files \w+ then, 3 files \w+ now",
    "--stages 9:2": r"latent frames: 2 then, 3 now",
    "--stages 5:1": r"steps: 2 done, 1 asked for",
}


@pytest.mark.parametrize("options", OTHER_SETTINGS)
def test_another_training_is_not_taken_for_this_one(base, trained, finished, monkeypatch, options):
    """It is refused in a sentence, before a video is read."""
    monkeypatch.setattr(video_training, "encode_videos", lambda *_: pytest.fail("a video was read"))
    given = options.format(trained=trained[0], finished=finished).split()
    with pytest.raises(SystemExit, match=f"{OTHER_SETTINGS[options]}.*another --out"):
        train_here(
            finished / "videos", finished / "light.safetensors", "--model", base, "--stages", "5:2", *given
        )


def test_the_same_training_may_be_made_longer(base, finished):
    out = finished / "light.safetensors"
    train_here(finished / "videos", out, "--model", base, "--stages", "5:3,9:1", "--device", "cpu")
    steps = [torch.load(path)["step"] for path in sorted(out.with_suffix("").glob("refiner_stage*.pt"))]
    assert steps == [3, 1]


@pytest.mark.parametrize(
    "content, said",
    [((), "There is no video in"), (("a.mp4", "b.mp4"), "No video can be trained on; the messages above")],
)
def test_a_folder_without_a_usable_video_is_refused(comfy_modules, tmp_path, capsys, content, said):
    (tmp_path / "videos").mkdir()
    for name in content:
        (tmp_path / "videos" / name).write_bytes(b"no video")
    with pytest.raises(SystemExit, match=said):
        train_here(tmp_path / "videos", tmp_path / "x.safetensors", "--dim", 128, "--layers", 1)
    assert ("2 videos skipped: 2 × cannot be read" in capsys.readouterr().out) == bool(content)


def test_a_file_that_is_no_vae_is_refused(base, videos, tmp_path):
    with pytest.raises(SystemExit, match=r"is no VAE: give --vae the Wan 2.1 VAE"):
        train_here(videos, tmp_path / "x.safetensors", "--vae", base)
