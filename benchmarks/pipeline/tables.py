"""The tables of what a large run costs."""

from __future__ import annotations

import torch

from benchmarks.common.tables import Table
from benchmarks.pipeline.cost import (
    DENSE,
    SKIPPING,
    Plan,
    density_for,
    memory_parts,
    size_that_fits,
    stage_flops,
    step_cost,
    windows_for,
)
from benchmarks.pipeline.models import ModelShape, VideoSize
from benchmarks.pipeline.timed_layers import Measured

PETA, GIGA, GIB = 1e15, 1e9, 2**30
CARDS = (16, 24, 32, 80)
FREE_SHARE = 0.8  # of a card; the rest is for a layer's weights, PyTorch and the display
GOAL = 4.0  # times faster at HR than all steps done directly


def size_table(model: ModelShape, plan: Plan) -> Table:
    table = Table(f"{model.name}: one step", ["size", "tokens", "linear", "self-attn", "cross-attn", "PFLOP"])
    windows = windows_for(model, plan.high, plan.s)
    for name, size, seen in (
        ("LR", plan.low, DENSE),
        ("HR, dense", plan.high, DENSE),
        (f"HR, s {plan.s:.0%}", plan.high, windows),
    ):
        cost = step_cost(model, size, seen)
        parts = [
            f"{part / cost.total:.1%}" for part in (cost.linear, cost.self_attention, cost.cross_attention)
        ]
        table.add(f"{name} {size}", model.tokens(size), *parts, cost.total / PETA)
    table.note = (
        f"Assumed: {model.layers} layers of width {model.width}, {model.passes} pass(es) per step, "
        f"{beside_of(model, plan.low)}; a multiply-add is 2 operations; norms, rotations and softmax are not "
        f"counted. Windows that fit into s {plan.s:.0%} in whole tiles hold {windows.density:.1%}, and "
        f"the means of {windows.tail_tiles} tiles are seen beside them."
    )
    return table


def beside_of(model: ModelShape, size: VideoSize) -> str:
    """What runs beside the video's tokens, in words."""
    sound = model.beside(size) - model.text_tokens
    return f"{model.text_tokens} text tokens" + (f" and {sound} of sound" if sound else "")


def run_table(model: ModelShape, plan: Plan, vae: tuple[float, float] | None, tflops: float) -> Table:
    ways = stage_flops(model, plan, vae)
    direct = sum(ways["direct"].values())
    table = Table(
        f"{model.name}: a whole run, {plan.steps} steps, t_i {plan.steps_left}, s {plan.s:.0%}",
        ["stage", "PFLOP", f"s at {tflops:g} TFLOP/s", "share"],
    )
    for way, stages in ways.items():
        total = sum(stages.values())
        for stage, flops in stages.items():
            table.add(f"{way}: {stage}", flops / PETA, flops / tflops / 1e12, f"{flops / total:.1%}")
        table.add(f"{way}: all, {direct / total:.2f}x direct", total / PETA, total / tflops / 1e12, "")
    faster = {way: ways["direct"]["high-res"] / stages["high-res"] for way, stages in ways.items()}
    why_not = "for this model" if model.vae is None else "because no ComfyUI is here"
    counted = "counted in ComfyUI's own VAE, untiled" if vae else f"not counted, {why_not}"
    table.note = (
        f"Assumed: everything runs at {tflops:g} TFLOP/s (give what your GPU reaches with --tflops; windowed "
        f"attention is counted at the same rate as dense). VAE operations are {counted}. Text encoder, "
        f"loading and offloading are left out.\nHR stage: {faster['S²Flow']:.2f} times fewer operations than "
        f"{plan.steps} direct steps, {faster[SKIPPING]:.2f} times with skip_share {plan.skip_share:g} "
        f"({plan.calls_left} of {plan.steps_left} calls). {GOAL:g} times with every step run would need "
        f"windows of {density_for(model, plan, GOAL):.0%}."
    )
    return table


def problems_of(model: ModelShape, plan: Plan) -> list[str]:
    """A sentence if the HR stage, with every step run, misses the goal by count."""
    ways = stage_flops(model, plan, vae=None)
    faster = ways["direct"]["high-res"] / ways["S²Flow"]["high-res"]
    if faster >= GOAL:
        return []
    return [f"HR stage: {faster:.2f} times fewer operations than {plan.steps} direct steps, not {GOAL:g}."]


def memory_table(model: ModelShape, plan: Plan) -> Table:
    table = Table(f"{model.name}: memory", ["part", "GiB"])
    for part, size in memory_parts(model, plan).items():
        table.add(part, size / GIB)
    return table


def card_table(model: ModelShape, plan: Plan) -> Table:
    """The largest video that a card holds, of the plan's shape and length."""
    table = Table(
        f"{model.name}: largest {plan.high.frames} frames on a card",
        ["card, GB", "weights", "feed-forward whole", "in pieces (by itself where memory is short)"],
    )
    for card in CARDS:
        room = FREE_SHARE * card * GIGA
        for where, weights in (("in main memory", 0.0), ("fp8, on the card", float(model.parameters))):
            sizes = [
                size_that_fits(model, plan.high, room - weights, in_pieces) for in_pieces in (False, True)
            ]
            table.add(card, where, *(str(size).rsplit("x", 1)[0] if size else "none" for size in sizes))
    table.note = (
        f"Counted: the tensors of one layer in bf16, one pass, in {FREE_SHARE:.0%} of the card. "
        "Weights in main memory come to the card layer by layer. The VAE has tiles of its own."
    )
    return table


def measured_table(model: ModelShape, plan: Plan, measured: Measured, device: str, depth: int) -> Table:
    steps = measured.steps(model)
    table = Table(
        f"{model.name}: {depth} layer(s) measured on {device_name(device)}, extrapolated to {model.layers}",
        ["part", "s per step", "steps", "s per run", "x direct", "LR share"],
    )
    low, windowed = plan.steps * steps["LR with capture"], steps["HR, windows"]
    direct = plan.steps * steps["HR, dense"]

    def add(part: str, step: float, count: int) -> None:
        table.add(part, step, count, count * step, "", "")

    add("LR", steps["LR"], plan.steps)
    add("LR with capture", steps["LR with capture"], plan.steps)
    add("HR, dense", steps["HR, dense"], plan.steps_left)
    add(f"HR, windows of {measured.density:.1%} and tail", windowed, plan.steps_left)
    add("HR, windows and tail, steps skipped", windowed, plan.calls_left)
    ways = {  # LR, HR
        "direct": (0.0, direct),
        "cascade, dense": (plan.steps * steps["LR"], plan.steps_left * steps["HR, dense"]),
        "S²Flow": (low, plan.steps_left * windowed),
        SKIPPING: (low, plan.calls_left * windowed),
    }
    for way, stages in ways.items():
        seconds = sum(stages)
        table.add(way, "", "", seconds, direct / seconds, f"{stages[0] / seconds:.1%}")
    extra = (
        "" if measured.extra_memory is None else f" Windows added {measured.extra_memory:.1%} to peak memory."
    )
    table.note = (
        "Random weights; matrix products, attention and capture (no norms, rotations or VAE); capture is "
        "what it adds to dense attention when it is launched behind it without a wait. The windows "
        "were first checked against their definition. HR stage against "
        f"{plan.steps} direct steps: {direct / (plan.steps_left * windowed):.2f} times faster, "
        f"{direct / (plan.calls_left * windowed):.2f} times with skip_share {plan.skip_share:g}.{extra}"
    )
    return table


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"
