"""Trains a Refiner on a folder of videos: full weights or LoRA factors, with AdamW at a constant rate."""

from __future__ import annotations

import gc
from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from training.fingerprint import file_fingerprint, fingerprint
from training.loop import Schedule
from training.optimizers import AdamW
from training.vae_clip import HostModule

from .data.captions import NoText, TextEncoder, text_encoder
from .data.codec import Codec, CoreCodec
from .data.pair_cache import PairCache
from .data.pairs import PairSettings, Video, encode_videos, find_videos
from .data.videos import SUFFIXES, ClipRules, SkippedVideos
from .light_model import (
    LoraLinear,
    add_lora,
    checkpoint_blocks,
    load_refiner,
    new_refiner,
    save_lora,
    save_refiner,
)
from .loss import FlowMapping
from .training_run import Batching, Lesson, Run, Stage, TrainingPairs, run_stages
from .windowed_blocks import window_blocks

# Options whose value alone says what they do to the result; files and folders are compared by content.
_VALUES = (
    "lora", "window", "rate", "batch", "noise_share", "noise_levels", "relative", "drop_prompt",
    "full_precision", "size", "scale", "variants",
)  # fmt: skip


def train_on_videos(arguments: Namespace) -> None:
    """From the options of `python -m training.refiner` to the file that they ask for."""
    skipped = SkippedVideos(arguments.videos)
    videos = find_videos(arguments.videos, skipped, captions=bool(arguments.clip))
    if not videos and not skipped.reasons:
        raise SystemExit(f"There is no video in {arguments.videos} ({', '.join(sorted(SUFFIXES))}).")
    text = text_encoder(arguments.clip, arguments.clip_type)
    frames = [count for count, _ in arguments.stages]
    pair_settings = PairSettings(
        area=arguments.size[0] * arguments.size[1],
        scale=arguments.scale,
        vae=file_fingerprint(arguments.vae),
        text=text.identity,
        rules=ClipRules(least_frames=min(frames), most_frames=max(frames)),
    )
    run = Run(
        work=arguments.out.with_suffix(""),
        settings=result_settings(arguments, videos, pair_settings),
        device=arguments.device,
        half=not arguments.full_precision,
    )
    stages = [Stage((count - 1) // 4 + 1, steps) for count, steps in arguments.stages]
    run.require_same(stages)

    cache = PairCache(run.work / "pairs")
    codec_of = partial(load_codec, arguments.vae)
    with torch.inference_mode():
        empty = keep_empty_prompt(text, cache)
        names = encode_videos(videos, pair_settings, arguments.variants, codec_of, text, cache, skipped)
    print(skipped.summary())
    pairs = TrainingPairs(cache, names, cache.text(empty))
    about_text = advice(text, any(video.caption for video in videos))
    del text
    free_encoders()

    light = light_model(arguments)
    schedule = Schedule(steps=1, learning_rate=arguments.rate, decay_share=0.0)
    run_stages(
        light.model,
        light.trained,
        lambda module: AdamW(list(module.parameters())),
        pairs,
        Lesson(stages, schedule, mapping_of(arguments), Batching(arguments.batch)),
        run,
    )
    light.save(arguments.out)
    print(f"{arguments.out} is written. {about_text} {fitting_mode(arguments.noise_share)}")


def result_settings(arguments: Namespace, videos: list[Video], pairs: PairSettings) -> dict[str, str]:
    """All that the trained weights depend on beside the stages, by the names of the options."""
    chosen = _VALUES if arguments.model else ("dim", "layers", *_VALUES)
    values = {f"--{name.replace('_', '-')}": str(getattr(arguments, name)) for name in chosen}
    return values | {
        "--model": f"file {file_fingerprint(arguments.model)}" if arguments.model else "none",
        "--vae": f"file {pairs.vae}",
        "--clip": pairs.text,
        "--videos": f"{len(videos)} files {fingerprint(*(video.facts for video in videos))}",
    }


def mapping_of(arguments: Namespace) -> FlowMapping:
    least, most = arguments.noise_levels
    return FlowMapping(
        noise_levels=(least, most),
        noise_share=arguments.noise_share,
        drop_prompt=arguments.drop_prompt,
        relative=arguments.relative,
    )


def load_codec(path: Path) -> Codec:
    import comfy.latent_formats

    return CoreCodec(path, comfy.latent_formats.Wan21())


def keep_empty_prompt(text: TextEncoder, cache: PairCache) -> str:
    """The name in the cache of what the encoder makes of no words; CFG compares with it."""
    name = fingerprint("empty prompt", text.identity)
    if not cache.has(name):
        cache.add_text(name, text.encode(""))
    return name


def free_encoders() -> None:
    """Gives the memory of VAE and text encoder back; the caller holds neither any more."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache()


@dataclass(frozen=True)
class LightModel:
    """model: what runs. trained: what learns, the model itself or the factors of its LoRA layers."""

    model: HostModule
    trained: nn.Module
    layers: dict[str, LoraLinear]

    def save(self, path: Path) -> None:
        if self.layers:
            save_lora(self.layers, path)
        else:
            save_refiner(self.model, path)


def light_model(arguments: Namespace) -> LightModel:
    """The model that the options describe. Weights that learn are float32, those under a LoRA bf16."""
    torch.manual_seed(0)
    frozen = torch.bfloat16 if arguments.lora and not arguments.full_precision else torch.float32
    if arguments.model is None:
        model = new_refiner(dim=arguments.dim, num_layers=arguments.layers, ffn_dim=4 * arguments.dim)
        model = model.to(arguments.device)
    else:
        model = load_refiner(arguments.model, frozen, arguments.device)
    if arguments.window:
        window_blocks(model, arguments.window)
    if arguments.checkpointing:
        checkpoint_blocks(model)
    layers = add_lora(model, arguments.lora) if arguments.lora else {}
    factors = [value for layer in layers.values() for value in (layer.lora_A, layer.lora_B)]
    return LightModel(model, nn.ParameterList(factors) if layers else model, layers)


def advice(text: TextEncoder, captioned: bool) -> str:
    """How to prompt a Refiner that was trained with this text."""
    if isinstance(text, NoText):
        return (
            "Without --clip it has seen no text: run it with CFG 1 and a zeroed conditioning "
            "(Conditioning Zero Out)."
        )
    if not captioned:
        return "No video had a caption (clip.txt beside clip.mp4): run it with CFG 1 and an empty prompt."
    return (
        "It has read the captions: give it the video's prompt, an empty negative one, and the paper's CFG 6."
    )


def fitting_mode(noise_share: float) -> str:
    """The Refiner Sampler's modes whose starts this training has seen."""
    if noise_share == 0:
        return "The Refiner Sampler's mode for it is flow_map."
    if noise_share == 1:
        return "The Refiner Sampler's mode for it is flashvideo: it has seen degraded starts only."
    return "The Refiner Sampler's modes for it are flow_map and flashvideo."
