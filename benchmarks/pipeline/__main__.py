"""What a whole run costs, by counting, and with --run by measuring layers of true width on this machine.

    python -m benchmarks.pipeline [--model NAME] [--low WxHxF] [--high WxHxF] [--s S] [--t_i N] [--steps N]
        [--skip_share S] [--tflops RATE] [--gpus N] [--run] [--depth N] [--device cpu|cuda] [--quick]
        [--json FILE]

Without --run nothing is measured: seconds are operations divided by the given rate, and every assumption is
printed with them.
"""

from __future__ import annotations

import argparse
import sys

import torch

from benchmarks.common.tables import add_report_options, report, where
from benchmarks.pipeline.cost import Plan
from benchmarks.pipeline.models import MODELS, VideoSize
from benchmarks.pipeline.sharing import sharing_table
from benchmarks.pipeline.tables import (
    card_table,
    measured_table,
    memory_table,
    problems_of,
    run_table,
    size_table,
)
from benchmarks.pipeline.timed_layers import measure
from benchmarks.pipeline.vae_flops import vae_flops
from comfyui_runner.installation import import_comfy

QUICK = ("128x80x9", "256x160x9")


def size_of(text: str) -> VideoSize:
    """ "1280x768x117" -> width, height, frames."""
    try:
        width, height, frames = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give WxHxF, as in 1280x768x117") from None
    return VideoSize(width, height, frames)


def vae_cost(name: str | None) -> tuple[float, float] | None:
    """Operations per pixel to decode and encode; None where no ComfyUI can be imported, or for no name."""
    if name is None:
        return None
    try:
        import_comfy()
        return vae_flops(name)
    except (SystemExit, ImportError):
        return None


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(MODELS), default="hunyuan_video")
    parser.add_argument("--low", type=size_of, default="1280x768x117", metavar="WxHxF")
    parser.add_argument("--high", type=size_of, default="2560x1536x117", metavar="WxHxF")
    parser.add_argument("--s", type=float, default=0.5, help="share of the video a query may see")
    parser.add_argument("--t_i", type=int, default=30, help="steps at the large size")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--skip_share", type=float, default=0.34, help="for the row that skips steps")
    parser.add_argument("--tflops", type=float, default=500.0)
    parser.add_argument("--gpus", type=int, default=1, help="count what sharing attention among them brings")
    parser.add_argument("--run", action="store_true", help="measure layers of true width on this machine")
    parser.add_argument("--depth", type=int, default=1, help="layers to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a very small size and one round")
    add_report_options(parser)
    options = parser.parse_args()
    low, high = map(size_of, QUICK) if options.quick else (options.low, options.high)
    model = MODELS[options.model]
    plan = Plan(low, high, options.steps, options.t_i, options.s, skip_share=options.skip_share)
    tables = [
        size_table(model, plan),
        run_table(model, plan, vae_cost(model.vae), options.tflops),
        memory_table(model, plan),
        card_table(model, plan),
    ]
    if options.gpus > 1:
        tables.append(sharing_table(model, plan, options.gpus))
    if options.run:
        rounds = 1 if options.quick else options.rounds
        measured = measure(model, plan, options.device, options.depth, rounds)
        tables.append(measured_table(model, plan, measured, options.device, options.depth))
    print("\n\n".join(table.text() for table in tables))
    return report([where(options.device), *tables], problems_of(model, plan), options)


if __name__ == "__main__":
    sys.exit(main())
