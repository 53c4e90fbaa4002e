"""Captions are encoded as core encodes them, and wrong text encoders are refused."""

from __future__ import annotations

import gc
import shutil
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_refiner import train_here

from training.refiner import training_run, video_training


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
    # What core tells the size class by: its columns, in later versions its rows.
    sign = torch.zeros(10240, 4096, dtype=torch.float8_e4m3fn)
    weights["encoder.block.23.layer.1.DenseReluDense.wi_1.weight"] = sign
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
