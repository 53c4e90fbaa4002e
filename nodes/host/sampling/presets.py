"""Several inputs of the High-Res Sampler by one name."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields

from comfy_api.latest import io

from ....s2flow_core.attention.rotary import DEFAULT_ROPE
from ....s2flow_core.solver.flow_solver import DEFAULT_ORDER, DEFAULT_SOURCE

log = logging.getLogger(__name__)
AS_SET = "as set"


@dataclass(frozen=True)
class Method:
    """What a preset decides; each as the input of the same name."""

    order: int = DEFAULT_ORDER
    derivative: str = DEFAULT_SOURCE
    skip_share: float = 0.0
    alignment: float = 0.0
    rope: str = DEFAULT_ROPE
    attention_temperature: bool = False


PRESETS = {
    "draft": Method(skip_share=0.35),
    "balanced": Method(),
    "paper": Method(order=2, derivative="low_res", rope="none"),
}


def preset_input() -> io.Combo.Input:
    return io.Combo.Input(
        "preset",
        options=[AS_SET, *PRESETS],
        default=AS_SET,
        optional=True,
        tooltip=(
            "Other than 'as set', it goes before order, derivative, skip_share, alignment, rope and "
            "attention_temperature. draft: a third of the steps is forecast. balanced: the defaults. paper: "
            "order 2 from the small run, positions as they are; in Window Mask take policy 'paper', tail off."
        ),
    )


def method_of(preset: str, as_set: Method) -> Method:
    """as_set: the inputs themselves. What a preset goes before although somebody changed it is logged."""
    if preset == AS_SET:
        return as_set
    chosen, untouched = PRESETS[preset], Method()
    passed_over = [
        f"{name} {value}"
        for name, value in ((field.name, getattr(as_set, field.name)) for field in fields(Method))
        if value not in (getattr(untouched, name), getattr(chosen, name))
    ]
    if passed_over:
        log.warning(
            "S²Flow: preset is '%s', so these inputs of the High-Res Sampler are not used: %s. Set preset to "
            "'%s' to use them.",
            preset,
            ", ".join(passed_over),
            AS_SET,
        )
    return chosen


def way_back(preset: str) -> str:
    """What an error adds that names an input which a preset has set."""
    if preset == AS_SET:
        return ""
    return f" It is preset '{preset}' that asks for it: set preset to '{AS_SET}' for the inputs to count."
