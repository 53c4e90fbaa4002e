"""Trains a Refiner, the light model of the S²Flow Refiner Sampler.

    python -m refiner.train --demo
    python -m refiner.train --videos FOLDER --vae FILE --out FILE [--model FILE] [--lora RANK]

--demo makes the small Refiner that ships with the pack, from procedural clips, on a CPU. With --videos, every
clip of a folder is degraded, encoded once and trained on; broken and too short files are skipped by name.
The result loads in core's Load Diffusion Model, or with --lora in core's LoRA loader (model only). A stopped
run goes on when it is started again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from demo import training
from demo.host import REFINER_FILE, VAE_FILE, WORK, import_comfy
from demo.vocabulary import TEXT_WIDTH

from .codec import CoreCodec
from .demo_data import encode_demo_pairs
from .flow_mapping import FlowMapping
from .light_model import add_lora, checkpoint_blocks, load_refiner, new_refiner, save_lora, save_refiner
from .pair_cache import PairCache
from .training_run import Batching, Stage, run_stages
from .video_data import VideoData, encode_videos
from .videos import ClipRules
from .windowed_blocks import window_blocks

DEMO_STEPS = 4000
# The small model has to tell clean and degraded starts apart; most artists give it clean ones.
DEMO_MAPPING = FlowMapping(noise_share=0.25, relative=True)


def train_demo(steps: int) -> None:
    """The shipped file: matrices by Muon, which a small model learns from in minutes instead of days."""
    cache = PairCache(WORK / "refiner_pairs")
    encode_demo_pairs(cache)
    torch.manual_seed(0)
    model = new_refiner()

    def optimizer_of(module: nn.Module) -> training.Optimizer:
        named = list(module.named_parameters())
        matrices = {value for name, value in named if name.startswith("blocks.") and value.ndim == 2}
        return training.MuonWithAdamW([value for _, value in named], matrices)

    schedule = training.Schedule(steps=steps, learning_rate=1.5e-3, warmup=100, decay_share=0.3)
    stages = [Stage(latent_frames=5, steps=steps)]
    batching = Batching(count=8, crop=16)
    average = run_stages(model, model, optimizer_of, cache, stages, schedule, DEMO_MAPPING, batching, WORK)
    save_refiner(average, REFINER_FILE)


def train_on_videos(arguments: argparse.Namespace) -> None:
    """Full weights or LoRA factors, with AdamW at a constant rate as in the paper."""
    import comfy.latent_formats

    out: Path = arguments.out
    work = out.with_suffix("")
    frames = [count for count, _ in arguments.stages]
    codec = CoreCodec(arguments.vae, comfy.latent_formats.Wan21())
    data = VideoData(
        folder=arguments.videos,
        area=arguments.size[0] * arguments.size[1],
        scale=arguments.scale,
        variants=arguments.variants,
        rules=ClipRules(least_frames=min(frames), most_frames=max(frames)),
    )
    cache = PairCache(work / "pairs")
    with torch.inference_mode():
        skipped = encode_videos(data, codec, torch.zeros(1, TEXT_WIDTH), cache)
    print(skipped.summary())

    torch.manual_seed(0)
    if arguments.model is None:
        model = new_refiner(dim=arguments.dim, num_layers=arguments.layers, ffn_dim=4 * arguments.dim)
        model = model.to(arguments.device)
    else:
        model = load_refiner(arguments.model, torch.float32, arguments.device)
    if arguments.window:
        window_blocks(model, arguments.window)
    if arguments.checkpointing:
        checkpoint_blocks(model)
    layers = add_lora(model, arguments.lora) if arguments.lora else {}
    factors = [value for layer in layers.values() for value in (layer.lora_A, layer.lora_B)]
    trained = nn.ParameterList(factors) if layers else model

    schedule = training.Schedule(steps=1, learning_rate=arguments.rate, decay_share=0.0)
    stages = [Stage((count - 1) // 4 + 1, steps) for count, steps in arguments.stages]
    run_stages(
        model,
        trained,
        lambda module: training.AdamW(list(module.parameters())),
        cache,
        stages,
        schedule,
        FlowMapping(),
        Batching(arguments.batch),
        work,
        arguments.device,
        half=not arguments.full_precision,
    )
    if layers:
        save_lora(layers, out)
    else:
        save_refiner(model, out)
    print(f"{out} is written.")


def stage_list(text: str) -> list[tuple[int, int]]:
    """'21:1000,81:4000' -> [(21, 1000), (81, 4000)]"""
    stages = [(int(frames), int(steps)) for frames, steps in (part.split(":") for part in text.split(","))]
    if any(frames % 4 != 1 or steps < 1 for frames, steps in stages):
        raise argparse.ArgumentTypeError(f"{text}: frames must be 4n+1 (5, 21, 81) and steps at least 1")
    return stages


def pixel_size(text: str) -> tuple[int, int]:
    """'1280x720' -> (1280, 720)"""
    width, height = text.lower().split("x")
    return int(width), int(height)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="train the small Refiner of the demo")
    parser.add_argument("--steps", type=int, default=DEMO_STEPS, help="steps of --demo")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--videos", type=Path, help="folder of training videos")
    parser.add_argument("--vae", type=Path, default=VAE_FILE, help="a Wan 2.1 VAE")
    parser.add_argument("--model", type=Path, help="a Wan checkpoint to start from; without it, from scratch")
    parser.add_argument("--out", type=Path, help="the .safetensors file to write; its work lies beside it")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="train a LoRA of this rank")
    parser.add_argument("--dim", type=int, default=1152, help="width of a model from scratch, 128 per head")
    parser.add_argument("--layers", type=int, default=16, help="layers of a model from scratch")
    parser.add_argument("--window", type=int, default=0, help="latent frames that attention sees at a time")
    parser.add_argument("--size", type=pixel_size, default=(1280, 720), help="largest area, 1280x720")
    parser.add_argument("--scale", type=float, default=2.0, help="from the small video to the large one")
    parser.add_argument("--variants", type=int, default=2, help="degraded copies of every clip")
    parser.add_argument("--stages", type=stage_list, default=[(21, 1000), (81, 4000)], help="21:1000,81:4000")
    parser.add_argument("--batch", type=int, default=1, help="clips in a step")
    parser.add_argument("--rate", type=float, default=5e-5, help="learning rate of AdamW")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, a third more time")
    parser.add_argument("--full-precision", action="store_true", help="float32 instead of bf16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if not arguments.demo and not (arguments.videos and arguments.out):
        parser.error("give --demo, or --videos FOLDER and --out FILE")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    import_comfy()
    if arguments.demo:
        train_demo(arguments.steps)
    else:
        train_on_videos(arguments)


if __name__ == "__main__":
    main()
