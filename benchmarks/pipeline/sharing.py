"""What it would bring to share a model's attention among GPUs, by counting; nothing here was measured."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.common.tables import Table
from benchmarks.pipeline.cost import DENSE, HALF, Plan, StepCost, step_cost, windows_for
from benchmarks.pipeline.models import ModelShape, VideoSize

PIECES = 4  # in which a helper's heads travel
TENSORS_OUT = 3  # q, k and v go to a helper, and its result comes back


@dataclass(frozen=True)
class Card:
    """flops: operations per second in half precision, as published. link: bytes per second each way, of the
    card's connection, as far as copies reach it."""

    name: str
    flops: float
    link: float


CARDS = (
    Card("RTX 4090, PCIe 4", 165e12, 25e9),
    Card("RTX 5090, PCIe 5", 210e12, 50e9),
    Card("H100, NVLink", 989e12, 450e9),
)


@dataclass(frozen=True)
class Shared:
    """One step on several equal cards. shipping: what travels, of the time that a helper computes."""

    speedup: float
    shipping: float


def shared_step(model: ModelShape, size: VideoSize, cost: StepCost, card: Card, gpus: int) -> Shared:
    """The step with its self-attention dealt to `gpus` cards, the rest on one.

    Heads are dealt so that all are done at once. A helper waits for its first piece and for its last result
    to arrive; between them copies and computation overlap. All helpers hang on the main card's link.
    """
    calls = model.layers * model.passes
    alone = cost.self_attention / calls / card.flops
    tensor = model.tokens(size) * model.inner * HALF / card.link  # of all heads
    out = TENSORS_OUT * tensor * (gpus - 1) / gpus
    waiting = (out + tensor * (gpus - 1) / gpus) / PIECES
    together = max((alone + (gpus - 1) * waiting) / gpus, out)
    rest = cost.total / card.flops - alone * calls
    return Shared((rest + alone * calls) / (rest + together * calls), out / max(together - waiting, 1e-12))


def counts_up_to(gpus: int) -> list[int]:
    """2, 4, 8 ... and the number itself."""
    return sorted({2**power for power in range(1, gpus.bit_length()) if 2**power <= gpus} | {gpus})


def sharing_table(model: ModelShape, plan: Plan, gpus: int) -> Table:
    """Attention's share of a step, and how much faster the step is on 2, 4 ... cards."""
    counts = counts_up_to(gpus)
    columns = ["step", "card", "attention", f"shipping, {gpus} GPUs", *(f"{count} GPUs" for count in counts)]
    table = Table(f"{model.name}: attention shared among GPUs, counted", columns)
    windows = windows_for(model, plan.high, plan.s)
    for step, size, seen in (
        ("LR", plan.low, DENSE),
        ("HR, dense", plan.high, DENSE),
        (f"HR, s {plan.s:.0%}", plan.high, windows),
    ):
        cost = step_cost(model, size, seen)
        for card in CARDS:
            ways = [shared_step(model, size, cost, card, count) for count in counts]
            table.add(
                f"{step} {size}",
                card.name,
                f"{cost.self_attention / cost.total:.1%}",
                f"{ways[-1].shipping:.1%}",
                *(f"{way.speedup:.2f}x" for way in ways),
            )
    cards = "; ".join(f"{c.name}: {c.flops / 1e12:g} TFLOP/s, {c.link / 1e9:g} GB/s each way" for c in CARDS)
    table.note = (
        "Counted, never measured, and not yet run on CUDA. Assumed: equal cards at their published rates, "
        f"where copies weigh most ({cards}); heads travel in {PIECES} pieces; shipping is as a part of the "
        "time that a helper computes. With CFG above 1, core's MultiGPU CFG Split is nearly 2x on two GPUs."
    )
    return table
