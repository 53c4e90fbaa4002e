"""`python -m training.demo_models vae|dit`: trains a small model from scratch, or from where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from comfyui_runner.installation import import_comfy
from demo.files import VAE_FILE
from training.machine import machine_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["vae", "dit"])
    parser.add_argument("--steps", type=int, help="steps of each stage, to try the training out")
    parser.add_argument("--threads", type=int, help="CPU threads; beside a GPU, processes that draw clips")
    parser.add_argument("--start", type=Path, metavar="FILE", help="begin with the weights of this file")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help="only write the last checkpoint's averaged weights to this file",
    )
    parser.add_argument(
        "--vae", type=Path, default=VAE_FILE, metavar="FILE", help="the VAE whose latents the DiT learns"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="by default the GPU, where there is one")
    arguments = parser.parse_args()
    machine = machine_of(arguments.device, arguments.threads)
    torch.set_num_threads(machine.threads)
    import_comfy()
    import comfy.cli_args

    # Read when ComfyUI's attention is imported: torch's own is faster than its default on a CPU.
    comfy.cli_args.args.use_pytorch_cross_attention = True
    from . import dit, vae

    if arguments.export:
        (vae if arguments.model == "vae" else dit).export_checkpoint(arguments.export)
    elif arguments.model == "vae":
        vae.train_vae(arguments.steps, arguments.start, machine)
    else:
        dit.train_dit(arguments.steps, arguments.start, arguments.vae, machine)


if __name__ == "__main__":
    main()
