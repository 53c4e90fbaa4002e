"""Training of a Refiner from a folder of videos to files that core's loaders take."""

from __future__ import annotations

import gc
import itertools
import shutil
import subprocess
import sys
import weakref
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from comfyui_runner.installation import ROOT
from demo.clips.scenes import draw_scene, render
from demo.files import VAE_FILE
from demo.run_demo.video_files import write_frames
from training import loop
from training.loop import Schedule, train
from training.optimizers import AdamW
from training.refiner import training_run, video_training
from training.refiner.__main__ import main, parse_arguments
from training.refiner.data.pair_cache import PairCache
from training.refiner.demo import training as demo_training
from training.refiner.light_model import add_lora, checkpoint_blocks, new_refiner, save_refiner
from training.refiner.loss import flow_mapping_loss
from training.refiner.windowed_blocks import window_blocks

TINY = {"dim": 128, "num_layers": 2, "ffn_dim": 128}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two clips, one of them with a caption, and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(2):
        clip = render(draw_scene(seed), size=64, frames=9)
        pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in clip]
        write_frames(folder / f"clip{seed}.mp4", pictures, Fraction(16))
    (folder / "clip0.txt").write_text("a red circle\n")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def base(comfy_modules, tmp_path_factory) -> Path:
    """A tiny Wan checkpoint that has something to say."""
    torch.manual_seed(1)
    model = new_refiner(**TINY)
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_refiner(model, path)
    return path


SMALL = ("--vae", VAE_FILE, "--size", "64x64", "--variants", 1, "--device", "cpu")


def train_here(folder: Path, out: Path, *options: object) -> None:
    """`python -m training.refiner` in this process."""
    main([str(part) for part in ("--videos", folder, "--out", out, *SMALL, *options)])


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


def test_only_what_learns_is_in_float32(base, tmp_path):
    """A frozen base in float32 would take twice the memory of the model itself."""

    def light(*options: object) -> video_training.LightModel:
        given = ("--videos", base.parent, "--out", "x.safetensors", "--vae", base, "--model", base, *options)
        return video_training.light_model(
            parse_arguments([str(part) for part in (*given, "--device", "cpu")])
        )

    lora = light("--lora", 2)
    learning = {value.dtype for value in lora.model.parameters() if value.requires_grad}
    frozen = {value.dtype for value in lora.model.parameters() if not value.requires_grad}
    assert (learning, frozen) == ({torch.float32}, {torch.bfloat16})
    exact = light("--lora", 2, "--full-precision")
    assert {value.dtype for value in exact.model.parameters()} == {torch.float32}
    assert {value.dtype for value in light().model.parameters()} == {torch.float32}


class Stopped(Exception):
    """A run that is killed."""


@pytest.mark.parametrize("options", [(), ("--lora", 2)], ids=["full", "lora"])
def test_a_training_stopped_in_its_second_stage_ends_where_an_unbroken_one_does(
    base, videos, tmp_path, monkeypatch, options
):
    def train(out: Path) -> None:
        train_here(videos, out, "--model", base, "--stages", "5:2,9:4", "--rate", 1e-2, *options)

    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(whole)
    steps = itertools.count(1)

    def stopping(*given):
        if next(steps) == 5:
            raise Stopped
        return flow_mapping_loss(*given)

    with monkeypatch.context() as patches, pytest.raises(Stopped):
        patches.setattr(training_run, "flow_mapping_loss", stopping)
        # A clock by which every step takes an hour, so that every step leaves a checkpoint.
        patches.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count(0, 3600).__next__))
        train(parts)
    stopped = torch.load(parts.with_suffix("") / "refiner_stage2.pt", weights_only=True)
    assert stopped["step"] == 2
    assert not parts.exists()

    def resumed(*given):
        next(steps)
        return flow_mapping_loss(*given)

    monkeypatch.setattr(training_run, "flow_mapping_loss", resumed)
    train(parts)
    assert next(steps) == 8  # the two steps that were left, after the five before
    ours, theirs = load_file(parts), load_file(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


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
    "--noise-share 0.5": r"--noise-share: 0.25 then, 0.5 now",
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


@pytest.fixture(scope="module")
def tiny_text_encoder(comfy_modules, tmp_path_factory) -> tuple[Path, dict[str, object]]:
    """The file of a Wan text encoder of one small layer with a tokenizer of letters, and its sizes.

    Core reads the sizes from a file of its own; `model_options` of its loader can say otherwise.
    """
    import comfy.ops
    import comfy.text_encoders.t5
    import sentencepiece

    folder = tmp_path_factory.mktemp("text")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a red circle moves left over sand"] * 20),
        model_prefix=str(folder / "letters"),
        model_type="char",
        vocab_size=24,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    sizes: dict[str, object] = {"num_layers": 1, "d_ff": 8, "d_kv": 8, "num_heads": 1, "vocab_size": 64}
    settings = {
        "d_model": 4096,
        "dense_act_fn": "gelu_pytorch_tanh",
        "is_gated_act": True,
        "model_type": "umt5",
    }
    torch.manual_seed(0)
    model = comfy.text_encoders.t5.T5(settings | sizes, torch.float32, "cpu", comfy.ops.disable_weight_init)
    weights = {name: torch.randn_like(value) * 0.02 for name, value in model.state_dict().items()}
    # What core tells the size class by.
    weights["encoder.block.23.layer.1.DenseReluDense.wi_1.weight"] = torch.zeros(1, 4096)
    weights["spiece_model"] = torch.frombuffer(
        bytearray((folder / "letters.model").read_bytes()), dtype=torch.uint8
    )
    save_file(weights, folder / "text.safetensors")
    return folder / "text.safetensors", {"umt5xxl_model_config": sizes}


@pytest.fixture
def small_clip(tiny_text_encoder, monkeypatch) -> Path:
    """Core's loader, told the sizes of the small file."""
    import comfy.sd

    path, options = tiny_text_encoder
    monkeypatch.setattr(comfy.sd, "load_clip", partial(comfy.sd.load_clip, model_options=options))
    return path


def test_captions_are_what_the_model_reads(videos, base, small_clip, tmp_path, capsys, monkeypatch):
    """Every pair holds what core's Load CLIP and CLIP Text Encode make of its caption."""
    import comfy.sd

    loaded, alive = [], []
    load = comfy.sd.load_clip
    run = training_run.run_stages

    def loading(*given, **named):
        clip = load(*given, **named)
        loaded.append(weakref.ref(clip.cond_stage_model))
        return clip

    def training_starts(*given):
        gc.collect()
        alive.append(loaded[0]() is not None)
        return run(*given)

    monkeypatch.setattr(comfy.sd, "load_clip", loading)
    monkeypatch.setattr(video_training, "run_stages", training_starts)
    out = tmp_path / "light.safetensors"
    given = ("--model", base, "--stages", "5:1", "--clip", small_clip)
    train_here(videos, out, *given)
    assert len(loaded) == 1 and alive == [False]
    assert "give it the video's prompt" in capsys.readouterr().out

    clip = load([str(small_clip)], clip_type=comfy.sd.CLIPType.WAN)
    texts = {text: clip.encode_from_tokens(clip.tokenize(text))[0] for text in ("a red circle", "")}
    assert not torch.allclose(texts["a red circle"], texts[""])
    stored = [load_file(path) for path in (out.with_suffix("") / "pairs").glob("*.safetensors")]
    pairs = [pair["context"].float() for pair in stored if "high" in pair]
    (empty,) = (file["context"].float() for file in stored if "high" not in file)
    assert torch.allclose(empty, texts[""], atol=1e-3)
    assert len(pairs) == 2
    for text in texts.values():
        assert sum(torch.allclose(pair, text, atol=1e-3) for pair in pairs) == 1

    # Made longer, nothing is left to encode, and the encoder is not loaded again.
    train_here(videos, out, *given, "--stages", "5:2")
    assert len(loaded) == 1


def test_another_caption_is_another_training(videos, base, small_clip, tmp_path):
    shutil.copytree(videos, tmp_path / "videos")
    given = ("--model", base, "--stages", "5:1", "--clip", small_clip)
    train_here(tmp_path / "videos", tmp_path / "light.safetensors", *given)
    (tmp_path / "videos" / "clip1.txt").write_text("sand")
    with pytest.raises(SystemExit, match="--videos: 3 files"):
        train_here(tmp_path / "videos", tmp_path / "light.safetensors", *given)


def test_a_folder_without_captions_says_how_to_prompt(videos, base, small_clip, tmp_path, capsys):
    shutil.copytree(videos, tmp_path / "videos")
    (tmp_path / "videos" / "clip0.txt").unlink()
    given = ("--model", base, "--stages", "5:1", "--noise-share", 0, "--clip", small_clip)
    train_here(tmp_path / "videos", tmp_path / "light.safetensors", *given)
    said = capsys.readouterr().out
    assert "CFG 1 and an empty prompt" in said and "mode for it is flow_map" in said


def test_a_wrong_text_encoder_is_refused(videos, base, small_clip, tmp_path, monkeypatch):
    import comfy.sd

    out = tmp_path / "light.safetensors"
    with pytest.raises(SystemExit, match=r"--clip-type wann: ComfyUI knows .*wan"):
        train_here(videos, out, "--model", base, "--clip", small_clip, "--clip-type", "wann")
    narrow = SimpleNamespace(
        tokenize=lambda text: text, encode_from_tokens_scheduled=lambda text: [[torch.zeros(1, 77, 768), {}]]
    )
    monkeypatch.setattr(comfy.sd, "load_clip", lambda *_, **__: narrow)
    with pytest.raises(SystemExit, match="width 768, and Wan reads 4096"):
        train_here(videos, out, "--model", base, "--clip", small_clip)


@pytest.mark.parametrize("frames", [0, 2])
def test_the_demo_trains_with_and_without_windows(comfy_modules, tmp_path, monkeypatch, frames):
    """Its own file and its work stay what they are when another file is asked for."""
    windowed = []
    latent = torch.randn(16, 3, 24, 24, generator=torch.Generator().manual_seed(0))

    def one_pair(cache: PairCache) -> list[str]:
        from training.refiner.data.pair_cache import Pair

        cache.add("00000", Pair(latent, 0.5 * latent, torch.zeros(4, 4096)))
        return ["00000"]

    monkeypatch.setattr(demo_training, "encode_demo_pairs", one_pair)
    monkeypatch.setattr(demo_training, "WORK", tmp_path / "work")
    monkeypatch.setattr(demo_training, "REFINER_FILE", tmp_path / "shipped.safetensors")
    monkeypatch.setattr(demo_training, "new_refiner", partial(new_refiner, **TINY))
    monkeypatch.setattr(demo_training, "window_blocks", lambda model, count: windowed.append(count))
    out = tmp_path / "mine.safetensors"
    main(["--demo", "--steps", "1", "--window", str(frames), "--out", str(out)])
    assert windowed == [2] * (frames > 0)
    assert out.is_file() and not (tmp_path / "shipped.safetensors").exists()
    with pytest.raises(SystemExit, match=f"--window: {frames} then, 3 now"):
        main(["--demo", "--steps", "1", "--window", "3", "--out", str(out)])


MISSING = """
import runpy, sys
sys.modules["torch"] = None
sys.argv = ["training.refiner", *sys.argv[1:]]
runpy.run_module("training.refiner", run_name="__main__")
"""


def without_torch(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MISSING, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_missing_module_is_named_in_a_sentence():
    run = without_torch("--demo")
    assert run.returncode == 1
    assert "The Python module torch is missing" in run.stderr and "Traceback" not in run.stderr


def test_a_missing_comfyui_is_named_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no ComfyUI in .*set COMFYUI_PATH to a ComfyUI folder"):
        main(["--demo"])


def test_the_help_needs_nothing_and_says_how_to_call_it_in_an_installed_pack():
    run = without_torch("--help")
    assert run.returncode == 0
    assert "COMFYUI_PATH=../.. python -m training.refiner" in run.stdout
    assert "CFG 1 and a\nzeroed conditioning" in run.stdout
    for option in ("--clip", "--noise-share", "--noise-levels", "--relative", "--window"):
        assert option in run.stdout


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
        schedule = Schedule(steps, 1e-2, decay_share=0.0)
        optimizer = AdamW(list(model.parameters()))
        trained = train("test", model, optimizer, loss_of_step, schedule, checkpoint)
        return trained.get_parameter("weight")

    unbroken = run(6, tmp_path / "whole.pt")
    run(3, tmp_path / "parts.pt")
    assert torch.equal(run(6, tmp_path / "parts.pt"), unbroken)


def test_a_checkpoint_of_other_settings_or_of_more_steps_is_refused(tmp_path: Path):
    model = torch.nn.Linear(2, 1)

    def run(steps: int, rate: str) -> None:
        optimizer = AdamW(list(model.parameters()))
        schedule = Schedule(steps, 1e-3, decay_share=0.0)
        loss = {"loss": model(torch.ones(1, 2)).sum()}
        train("test", model, optimizer, lambda _: loss, schedule, tmp_path / "c.pt", settings={"rate": rate})

    run(1, "slow")
    with pytest.raises(SystemExit, match="rate: slow then, fast now"):
        run(1, "fast")
    with pytest.raises(SystemExit, match="steps: 1 done, 0 asked for"):
        run(0, "slow")


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from training import checkpoints

path = Path(sys.argv[1])
checkpoints.save_atomically({"step": 1}, path)
# From here on no file may grow beyond 64 kB: the operating system refuses as a full disk does.
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    checkpoints.save_atomically({"weights": torch.zeros(100_000)}, path)
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
    schedule = Schedule(3, 1e-3, checkpoint_seconds=0.0)
    optimizer = AdamW(list(model.parameters()))
    train(
        "test",
        model,
        optimizer,
        lambda step: {"loss": model(torch.ones(1, 2)).sum()},
        schedule,
        tmp_path / "c.pt",
    )
    assert "No space left on device" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
