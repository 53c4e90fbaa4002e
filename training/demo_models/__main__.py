"""`python -m training.demo_models vae|dit`: trains a small model from scratch, or from where it stopped."""

from __future__ import annotations

import argparse

import torch

from comfyui_runner.installation import import_comfy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["vae", "dit"])
    parser.add_argument("--steps", type=int, help="steps of each stage, to try the training out")
    parser.add_argument("--threads", type=int, help="CPU threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    import_comfy()
    if arguments.model == "vae":
        from .vae import train_vae

        train_vae(arguments.steps)
    else:
        from .dit import train_dit

        train_dit(arguments.steps)


if __name__ == "__main__":
    main()
