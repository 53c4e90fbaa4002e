"""Training of a Refiner from a folder of videos to files that core's loaders take."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from demo import training
from demo.clips import draw_scene, render
from demo.host import ROOT
from demo.video_files import write_frames
from refiner.light_model import add_lora, checkpoint_blocks, new_refiner
from refiner.windowed_blocks import window_blocks

TINY = {"dim": 128, "num_layers": 2, "ffn_dim": 128}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(2):
        clip = render(draw_scene(seed), size=64, frames=9)
        pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in clip]
        write_frames(folder / f"clip{seed}.mp4", pictures, Fraction(16))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def refiner_train(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "refiner.train", "--threads", "1", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def trained(videos: Path, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("out") / "light.safetensors"
    run = refiner_train(
        "--videos", videos, "--out", out, "--dim", 128, "--layers", 2, "--size", "64x64", "--variants", 1,
        "--stages", "5:2,9:2", "--batch", 2, "--checkpointing", "--window", 2,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return out, run.stdout


def test_a_folder_of_videos_becomes_a_checkpoint_that_core_loads(comfy_modules, trained):
    import comfy.sd

    out, said = trained
    assert "1 video skipped: 1 × cannot be read" in said
    model = comfy.sd.load_diffusion_model(str(out))
    assert type(model.model.diffusion_model).__name__ == "WanModel"
    assert len(model.model.diffusion_model.blocks) == 2
    weights = model.model.diffusion_model.head.head.weight
    assert torch.isfinite(weights).all() and weights.abs().sum() > 0


def test_a_lora_loads_through_cores_loader_and_changes_the_model(comfy_modules, trained, videos):
    import comfy.utils

    out, _ = trained
    lora = out.with_name("lora.safetensors")
    run = refiner_train(
        "--videos", videos, "--model", out, "--lora", 4, "--out", lora, "--size", "64x64", "--variants", 1,
        "--stages", "5:3", "--rate", 1e-2,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    import comfy.sd

    model = comfy.sd.load_diffusion_model(str(out))
    loaded, _ = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(lora)), 1.0, 0.0)
    factors = [key for key in comfy.utils.load_torch_file(str(lora)) if key.endswith("lora_A.weight")]
    assert len(factors) == len(loaded.patches) == 2 * 10  # q, k, v, o twice and two of the ffn, per layer


def test_windows_and_checkpointing_do_not_change_what_they_should_not(comfy_modules):
    """A window over all frames and recomputed blocks give the gradients of the plain model."""

    def gradients(prepare) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = new_refiner(**TINY)
        torch.nn.init.normal_(model.head.head.weight, std=0.1)
        prepare(model)
        state = torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(2))
        model(state, torch.tensor([500.0]), torch.zeros(1, 1, 4096)).square().sum().backward()
        return [value.grad for value in model.blocks.parameters()]

    def both(frames: int):
        def prepare(model):
            window_blocks(model, frames)
            checkpoint_blocks(model)

        return prepare

    plain = gradients(lambda model: None)
    for one, other in zip(plain, gradients(both(4)), strict=True):
        torch.testing.assert_close(one, other)
    windowed, recomputed = gradients(lambda model: window_blocks(model, 2)), gradients(both(2))
    assert any(not torch.allclose(one, other) for one, other in zip(plain, windowed, strict=True))
    for one, other in zip(windowed, recomputed, strict=True):
        torch.testing.assert_close(one, other)


def test_lora_starts_as_the_model_it_is_added_to(comfy_modules):
    torch.manual_seed(0)
    model = new_refiner(**TINY)
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    inputs = (torch.randn(1, 16, 2, 4, 4), torch.tensor([300.0]), torch.zeros(1, 1, 4096))
    before = model(*inputs)
    layers = add_lora(model, rank=2)
    torch.testing.assert_close(model(*inputs), before)
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    assert len(trainable) == 2 * len(layers)
    assert all("lora_" in name for name in trainable)


def test_a_training_stopped_half_way_ends_where_an_unbroken_one_does(tmp_path: Path):
    def run(steps: int, checkpoint: Path) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)

        def loss_of_step(step: int) -> dict[str, torch.Tensor]:
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            return {"loss": (model(x) - x.sum(dim=1, keepdim=True)).square().mean()}

        # A constant rate, so that the number of steps does not change the steps before.
        schedule = training.Schedule(steps, 1e-2, decay_share=0.0)
        optimizer = training.AdamW(list(model.parameters()))
        trained = training.train("test", model, optimizer, loss_of_step, schedule, checkpoint)
        return trained.get_parameter("weight")

    unbroken = run(6, tmp_path / "whole.pt")
    run(3, tmp_path / "parts.pt")
    assert torch.equal(run(6, tmp_path / "parts.pt"), unbroken)


def test_a_checkpoint_of_other_settings_or_of_more_steps_is_refused(tmp_path: Path):
    model = torch.nn.Linear(2, 1)

    def run(steps: int, rate: str) -> None:
        optimizer = training.AdamW(list(model.parameters()))
        schedule = training.Schedule(steps, 1e-3, decay_share=0.0)
        loss = {"loss": model(torch.ones(1, 2)).sum()}
        training.train(
            "test", model, optimizer, lambda _: loss, schedule, tmp_path / "c.pt", settings={"rate": rate}
        )

    run(1, "slow")
    with pytest.raises(SystemExit, match="rate: slow then, fast now"):
        run(1, "fast")
    with pytest.raises(SystemExit, match="steps: 1 done, 0 asked for"):
        run(0, "slow")


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from demo import training

path = Path(sys.argv[1])
training.save_atomically({"step": 1}, path)
# From here on no file may grow beyond 64 kB: the operating system refuses as a full disk does.
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    training.save_atomically({"weights": torch.zeros(100_000)}, path)
    print("written")
except (OSError, RuntimeError):
    print("refused")
print(torch.load(path)["step"], sorted(file.name for file in path.parent.iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on file size is a Unix one")
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "run.pt")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:2] == ["refused", "1 ['run.pt']"]


def test_a_training_goes_on_when_a_checkpoint_cannot_be_written(tmp_path: Path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    model = torch.nn.Linear(2, 1)
    monkeypatch.setattr(torch, "save", full)
    schedule = training.Schedule(3, 1e-3, checkpoint_seconds=0.0)
    optimizer = training.AdamW(list(model.parameters()))
    training.train(
        "test",
        model,
        optimizer,
        lambda step: {"loss": model(torch.ones(1, 2)).sum()},
        schedule,
        tmp_path / "c.pt",
    )
    assert "No space left on device" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
