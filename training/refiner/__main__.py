"""Trains a Refiner, the light model of the S²Flow Refiner Sampler.

    python -m training.refiner --demo
    python -m training.refiner --videos FOLDER --vae FILE --out FILE [--clip FILE] [--model FILE] [--lora R]

In an installed pack, run it from the pack's own folder with ComfyUI's Python, and say where ComfyUI lies:

    cd ComfyUI/custom_nodes/ComfyUI-S2Flow
    COMFYUI_PATH=../.. python -m training.refiner --videos ...

(Windows: `set COMFYUI_PATH=..\\..` first.)

--demo makes the small Refiner that ships with the pack, from procedural clips. With --videos, every
clip of a folder is degraded, encoded once and trained on; broken and too short files are skipped by name.
The text beside a clip (clip.txt beside clip.mp4) is its caption, read by the text encoder that --clip names;
a clip without one gets the empty prompt. Without --clip no text is read: such a Refiner wants CFG 1 and a
zeroed conditioning, because there is nothing that guidance could compare.
The result loads in core's Load Diffusion Model, or with --lora in core's LoRA loader (model only). A stopped
run goes on when it is started again with the same settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

DEMO_STEPS = 8000
OF_DEMO = frozenset({"demo", "steps", "threads", "window", "out", "device"})


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


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: a share lies between 0 and 1")
    return value


def parse_arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="train the small Refiner of the demo")
    parser.add_argument("--steps", type=int, default=DEMO_STEPS, help="steps of --demo")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--videos", type=Path, help="folder of training videos, with or without captions")
    parser.add_argument("--vae", type=Path, help="the Wan 2.1 VAE; --videos needs it")
    parser.add_argument(
        "--clip", type=Path, nargs="+", help="text encoder that reads the captions; Wan: umt5_xxl"
    )
    parser.add_argument(
        "--clip-type", "--clip_type", default="wan", help="its type in core's Load CLIP (wan)"
    )
    parser.add_argument("--model", type=Path, help="a Wan checkpoint to start from; without it, from scratch")
    parser.add_argument("--out", type=Path, help="the .safetensors file to write; its work lies beside it")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="train a LoRA of --model")
    parser.add_argument("--dim", type=int, default=1152, help="width of a model from scratch, 128 per head")
    parser.add_argument("--layers", type=int, default=16, help="layers of a model from scratch")
    parser.add_argument(
        "--window",
        type=int,
        default=0,
        help="latent frames that attention sees at a time, shifted by half of it in every other layer;\n"
        "give the Refiner Sampler's window the same number. 0 (default, and the shipped Refiner): all",
    )
    parser.add_argument("--size", type=pixel_size, default=(1280, 720), help="largest area, 1280x720")
    parser.add_argument("--scale", type=float, default=2.0, help="from the small video to the large one")
    parser.add_argument("--variants", type=int, default=2, help="degraded copies of every clip")
    parser.add_argument("--stages", type=stage_list, default=[(21, 1000), (81, 4000)], help="21:1000,81:4000")
    parser.add_argument("--batch", type=int, default=1, help="clips in a step")
    parser.add_argument("--rate", type=float, default=5e-5, help="learning rate of AdamW")
    parser.add_argument(
        "--noise-share",
        type=share,
        default=0.4,
        help="share of the samples whose small latent is degraded with noise. 1: all, as in the paper,\n"
        "for the mode flashvideo; 0: none, for flow_map; between, as in the shipped Refiner: both",
    )
    parser.add_argument(
        "--noise-levels",
        type=share,
        nargs=2,
        default=[0.6, 0.9],
        metavar=("LEAST", "MOST"),
        help="how much noise, in thousandths of FlashVideo's reference step (the paper's 0.6 0.9)",
    )
    parser.add_argument("--drop-prompt", type=share, default=0.1, help="share that sees the empty prompt")
    parser.add_argument(
        "--relative",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="count a sample's error as a share of its own target: between 0 and 1 of --noise-share, the\n"
        "clean samples would otherwise hardly count. Not in the paper",
    )
    parser.add_argument("--checkpointing", action="store_true", help="less memory, a third more time")
    parser.add_argument(
        "--full-precision", action="store_true", help="float32 instead of bf16, also for the base of a LoRA"
    )
    parser.add_argument("--device", help="cuda or cpu; without it, cuda where there is one")
    arguments = parser.parse_args(given)
    given_beside = {name for name, value in vars(arguments).items() if value != parser.get_default(name)}
    problem = (
        problem_with_file(arguments.out)
        or problem_with_kind(given_beside)
        or (None if arguments.demo else problem_with_videos(arguments))
    )
    if problem:
        parser.error(problem)
    return arguments


def problem_with_file(out: Path | None) -> str | None:
    """What is wrong with the name of the result, as a sentence."""
    if out is not None and out.suffix != ".safetensors":
        return f"--out {out}: the name must end in .safetensors, for ComfyUI to list it."
    return None


def problem_with_kind(given: set[str]) -> str | None:
    """What was asked for that this kind of training does not have. given: names of the options."""
    if "demo" in given:
        foreign, instead = given - OF_DEMO, "--demo has a recipe of its own"
    else:
        foreign, instead = given & {"steps"}, "a training on videos has --stages"
    if not foreign:
        return None
    names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(foreign))
    return f"{names}: {instead}, so this would change nothing. Leave it out."


def problem_with_videos(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options of a training on videos, as a sentence, before anything is read."""
    if not (arguments.videos and arguments.out):
        return "give --demo, or --videos FOLDER and --out FILE."
    if arguments.vae is None:
        return "--videos needs --vae FILE: the VAE of the model that the Refiner will work with, Wan 2.1's."
    if not arguments.videos.is_dir():
        return f"there is no folder {arguments.videos}: --videos takes a folder of videos."
    for option in ("vae", "model", "clip"):
        files = getattr(arguments, option) or []
        for path in files if isinstance(files, list) else [files]:
            if not path.is_file():
                return f"there is no file {path}, which --{option} names."
    if arguments.lora and arguments.model is None:
        return "--lora needs --model FILE: a LoRA is of no use without the model that it was trained on."
    if arguments.model is None and (arguments.dim < 128 or arguments.dim % 128):
        return f"--dim {arguments.dim}: must be a multiple of 128, such as 1152."
    if arguments.scale <= 1:
        return f"--scale {arguments.scale:g}: must be above 1, such as 2."
    least, most = arguments.noise_levels
    if not least <= most < 1:
        return (
            f"--noise-levels {least:g} {most:g}: the first must not exceed the second, and both be below 1."
        )
    return None


def main(given: list[str] | None = None) -> None:
    arguments = parse_arguments(given)
    try:
        train(arguments)
    except ModuleNotFoundError as missing:
        raise SystemExit(
            f"The Python module {missing.name} is missing. Run this from the pack's folder with the Python "
            f"that runs ComfyUI: it has all that ComfyUI's and this pack's requirements.txt ask for."
        ) from missing


def train(arguments: argparse.Namespace) -> None:
    """Imports only now what it takes to train, so that --help works and a missing module can be named."""
    from comfyui_runner.installation import import_comfy

    import_comfy()
    import torch

    from .demo.training import train_demo
    from .video_training import train_on_videos

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.demo:
        train_demo(arguments.steps, arguments.window, arguments.out, arguments.device)
    else:
        train_on_videos(arguments)


if __name__ == "__main__":
    main()
