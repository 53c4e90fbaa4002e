"""What a whole run costs, by counting, and with --run by measuring layers of true width on this machine.

    python -m benchmarks.pipeline [--model NAME] [--low WxHxF] [--high WxHxF] [--s S] [--t_i N] [--steps N]
        [--tflops RATE] [--run] [--depth N] [--device cpu|cuda] [--quick] [--json FILE]

Without --run nothing is measured: seconds are operations divided by the given rate, and every assumption is
printed with them.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.pipeline_cost import (
    MODELS,
    ModelShape,
    Plan,
    VideoSize,
    density_for,
    memory_parts,
    stage_flops,
    step_cost,
)
from benchmarks.pipeline_run import Measured, measure
from benchmarks.tables import Table, where, write_json
from benchmarks.vae_flops import vae_flops
from demo.host import import_comfy

PETA, GIB = 1e15, 2**30
GOAL = 4.0  # times faster at HR than all steps done directly
QUICK = ("128x80x9", "256x160x9")


def size_of(text: str) -> VideoSize:
    width, height, frames = (int(part) for part in text.split("x"))
    return VideoSize(width, height, frames)


def size_table(model: ModelShape, plan: Plan) -> Table:
    table = Table(f"{model.name}: one step", ["size", "tokens", "linear", "self-attn", "cross-attn", "PFLOP"])
    for name, size, density in (
        ("LR", plan.low, 1.0),
        ("HR, dense", plan.high, 1.0),
        (f"HR, s {plan.density:.0%}", plan.high, plan.density),
    ):
        cost = step_cost(model, size, density)
        parts = [
            f"{part / cost.total:.1%}" for part in (cost.linear, cost.self_attention, cost.cross_attention)
        ]
        table.add(f"{name} {size}", model.tokens(size), *parts, cost.total / PETA)
    table.note = (
        f"Assumed: {model.layers} layers of width {model.width}, {model.passes} pass(es) per step, "
        f"{model.text_tokens} text tokens; a multiply-add is 2 operations; norms, rotations and softmax are "
        "not counted."
    )
    return table


def run_table(model: ModelShape, plan: Plan, vae: tuple[float, float], tflops: float) -> Table:
    ways = stage_flops(model, plan, vae)
    direct = sum(ways["direct"].values())
    table = Table(
        f"{model.name}: a whole run, {plan.steps} steps, t_i {plan.steps_left}, s {plan.density:.0%}",
        ["stage", "PFLOP", f"s at {tflops:g} TFLOP/s", "share"],
    )
    for way, stages in ways.items():
        total = sum(stages.values())
        for stage, flops in stages.items():
            table.add(f"{way}: {stage}", flops / PETA, flops / tflops / 1e12, f"{flops / total:.1%}")
        table.add(f"{way}: all, {direct / total:.2f}x direct", total / PETA, total / tflops / 1e12, "")
    high_direct, high_ours = ways["direct"]["high-res"], ways["S²Flow"]["high-res"]
    needed = density_for(model, plan, GOAL)
    table.note = (
        f"Assumed: everything runs at {tflops:g} TFLOP/s (give what your GPU reaches with --tflops; windowed "
        "attention is counted at the same rate as dense). VAE operations are counted in ComfyUI's own VAE, "
        "untiled. Text encoder, loading and offloading are left out.\n"
        f"HR stage: {high_direct / high_ours:.2f} times fewer operations than {plan.steps} direct steps; "
        f"{GOAL:g} times would need s = {needed:.0%} or fewer steps."
    )
    return table


def memory_table(model: ModelShape, plan: Plan) -> Table:
    table = Table(f"{model.name}: memory", ["part", "GiB"])
    for part, size in memory_parts(model, plan).items():
        table.add(part, size / GIB)
    return table


def measured_table(model: ModelShape, plan: Plan, measured: Measured, device: str, depth: int) -> Table:
    low, dense, windowed = measured.steps(model)
    table = Table(
        f"{model.name}: {depth} layer(s) measured on {device_name(device)}, extrapolated to {model.layers}",
        ["part", "ms per layer", "s per step", "s per run"],
    )
    table.add("LR", 1e3 * (measured.low_linear + measured.low_dense), low, plan.steps * low)
    high_linear = measured.high_linear
    table.add("HR, dense", 1e3 * (high_linear + measured.high_dense), dense, plan.steps_left * dense)
    windowed_ms = 1e3 * (high_linear + measured.high_windowed)
    table.add(f"HR, s {measured.density:.1%}", windowed_ms, windowed, plan.steps_left * windowed)
    direct = plan.steps * dense
    cascade = plan.steps * low + plan.steps_left * dense
    ours = plan.steps * low + plan.steps_left * windowed
    table.add("direct", "", "", direct)
    table.add(f"cascade, dense: {direct / cascade:.2f}x", "", "", cascade)
    table.add(f"S²Flow: {direct / ours:.2f}x", "", "", ours)
    extra = (
        "" if measured.extra_memory is None else f" Windows added {measured.extra_memory:.1%} to peak memory."
    )
    table.note = (
        "Random weights; matrix products and self-attention only (no norms, rotations, cross-attention, VAE "
        f"or capture). HR stage {direct / (plan.steps_left * windowed):.2f} times faster than {plan.steps} "
        f"direct steps.{extra}"
    )
    return table


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(MODELS), default="hunyuan_video")
    parser.add_argument("--low", default="1280x768x117")
    parser.add_argument("--high", default="2560x1536x117")
    parser.add_argument("--s", type=float, default=0.5)
    parser.add_argument("--t_i", type=int, default=30)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--tflops", type=float, default=500.0)
    parser.add_argument("--run", action="store_true", help="measure layers of true width on this machine")
    parser.add_argument("--depth", type=int, default=1, help="layers to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a very small size and one round")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    low, high = QUICK if arguments.quick else (arguments.low, arguments.high)
    model = MODELS[arguments.model]
    plan = Plan(size_of(low), size_of(high), arguments.steps, arguments.t_i, arguments.s)
    import_comfy()
    tables = [
        size_table(model, plan),
        run_table(model, plan, vae_flops(model.vae), arguments.tflops),
        memory_table(model, plan),
    ]
    if arguments.run:
        rounds = 1 if arguments.quick else arguments.rounds
        measured = measure(model, plan, arguments.device, arguments.depth, rounds)
        tables.append(measured_table(model, plan, measured, arguments.device, arguments.depth))
    print("\n\n".join(table.text() for table in tables))
    if arguments.json:
        write_json(arguments.json, [where(arguments.device), *tables], [])


if __name__ == "__main__":
    main()
