"""Where the solver's higher-order terms come from: the LR record, the run's own past, both, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .low_res_field import LowResField
from .stencils import combine, derivative_weights

SOURCES = ("none", "low_res", "history", "blend")

_FEW_STEPS = 20
"""Below this many HR steps, three neighbouring points look too short a way ahead."""

# How far ahead what was learned over the last step is trusted: u' over this many of those steps, u'' over
# fewer, and both in any case over this much of sigma. Chosen on six kinds of exact_flow data, 6 to 15 steps
# at shift 3 to 12, for the least mean error among those that nowhere lose to Euler by more than a tenth.
_TRUSTED_STEPS = 2.0
_TRUSTED_STEPS_SECOND = 1.6
_TRUSTED_LENGTH = 0.15

Derivatives = tuple[Tensor | None, Tensor | None]
"""u' and u'', each (B, C, T, H, W) or unknown."""


@dataclass(frozen=True)
class Node:
    """Velocity at one sigma of the HR run."""

    sigma: float
    velocity: Tensor


@dataclass(frozen=True)
class StepView:
    """What a derivative source may look at when the run stands at `here`."""

    here: Node
    past: Sequence[Node]  # newest first, at most two, all by the present expert
    next_sigma: float
    next_same_expert: bool
    steps: int  # of the whole HR run

    @property
    def is_last(self) -> bool:
        """Whether the step ends at sigma = 0."""
        return self.next_sigma == 0


class DerivativeSource(Protocol):
    """Where u' and u'' come from."""

    corrects_start: bool  # whether a third-order run repairs its Euler first step

    def derivatives(self, view: StepView, order: int) -> Derivatives:
        """u' and u'' at `view.here`; None for what is unknown or, at this order, not wanted."""
        ...


class NoDerivative:
    """Euler."""

    corrects_start = False

    def derivatives(self, view: StepView, order: int) -> Derivatives:
        """Nothing."""
        return None, None


class LowResDerivative:
    """The paper's source: central differences of the LR record around the present sigma.

    At the very first step of the schedule the difference is forward. The last step stays Euler: its u'
    would put an upsampled LR field straight into the clean latent.
    """

    corrects_start = False

    def __init__(self, field: LowResField):
        self._field = field

    def derivatives(self, view: StepView, order: int) -> Derivatives:
        """Differences over the neighbours on both sides that the record covers."""
        sigma = view.here.sigma
        if view.is_last or not self._field.usable(sigma, sigma):
            return None, None
        before = view.past[0].sigma if view.past else self._field.sigma_before(sigma)
        after = view.next_sigma if view.next_same_expert else None
        nodes = [s for s in (before, sigma, after) if s is not None and self._field.usable(s, sigma)]
        if len(nodes) < 2:
            return None, None
        if len(nodes) == 3 and order == 2 and view.steps < _FEW_STEPS:
            # With few, fast growing steps the secant over both steps looks further ahead than the tangent.
            nodes = [nodes[0], nodes[2]]
        first, second = self._field.derivatives(nodes, sigma)
        return first, second if order == 3 and len(nodes) == 3 else None


class HistoryDerivative:
    """HR's own last velocities: Adams-Bashforth of order 2 or 3 on uneven steps. The first step is Euler."""

    corrects_start = True

    def derivatives(self, view: StepView, order: int) -> Derivatives:
        """Derivatives at sigma of the polynomial through the present and the last order-1 velocities."""
        if not view.past:
            return None, None
        first, second = _backward(view, order)
        return first, second if order == 3 and len(view.past) > 1 else None


class BlendDerivative:
    """History, plus the part of the LR record that history cannot know.

    `u' = back(u_HR) + gamma·[central(u_LR) - back(u_LR)]`: the same backward difference is taken of the LR
    record, and its known error is carried over. The bracket vanishes with the step, so a biased LR field
    costs no order, whatever gamma. gamma is the least-squares factor, within 0..1, by which the LR second
    difference explained the HR one over the last three points; without that evidence it is 0. Where a step
    is much longer than the last one, extrapolation is held back: such steps close the schedules of few
    steps and high shift, where a full one overshoots.
    """

    corrects_start = True

    def __init__(self, field: LowResField | None = None):
        self._field = field

    def derivatives(self, view: StepView, order: int) -> Derivatives:
        """The gated sum; without an LR record the guarded history alone."""
        if not view.past:
            return None, None
        length, last_length = view.here.sigma - view.next_sigma, view.past[0].sigma - view.here.sigma
        trust = min(1.0, max(_TRUSTED_STEPS * last_length, _TRUSTED_LENGTH) / length) ** 2
        third = length <= max(_TRUSTED_STEPS_SECOND * last_length, _TRUSTED_LENGTH)
        third = third and order == 3 and len(view.past) > 1
        first, second = _backward(view, 3 if third else 2)
        first = trust * first
        field = self._field
        if field is not None and (gate := _gate(field, view)) is not None:
            sigma, before = view.here.sigma, view.past[0].sigma
            backward_nodes = [sigma, *(node.sigma for node in view.past[: 2 if third else 1])]
            ahead, ahead_second = field.derivatives([before, sigma, view.next_sigma], sigma)
            back, back_second = field.derivatives(backward_nodes, sigma)
            first = first + gate * (ahead - trust * back)
            second = second + gate * (ahead_second - back_second)
        return first, second if third else None


def _gate(field: LowResField, view: StepView) -> Tensor | None:
    """gamma per video, (B, 1, ..., 1), or None where the record does not reach or nothing is known yet."""
    if len(view.past) < 2 or not view.next_same_expert:
        return None
    sigma = view.here.sigma
    nodes = [sigma, view.past[0].sigma, view.past[1].sigma]
    if not all(field.usable(s, sigma) for s in (*nodes, view.next_sigma)):
        return None
    _, seen = _backward(view, 3)
    _, predicted = field.derivatives(nodes, sigma)
    axes = tuple(range(1, seen.ndim))
    agreement = (predicted * seen).sum(dim=axes, keepdim=True)
    power = (predicted * predicted).sum(dim=axes, keepdim=True)
    return (agreement / power.clamp_min(torch.finfo(power.dtype).tiny)).clamp(0, 1)


def _backward(view: StepView, order: int) -> tuple[Tensor, Tensor]:
    """u' and u'' from the present and the last `order`-1 velocities (fewer if the run is younger)."""
    nodes = [view.here, *view.past[: order - 1]]
    first, second = derivative_weights([node.sigma for node in nodes], view.here.sigma)
    values = [node.velocity for node in nodes]
    return combine(first, values), combine(second, values)


def make_source(name: str, field: LowResField | None) -> DerivativeSource:
    """The source of that name, one of SOURCES; field: the LR record, if there is one.

    Raises ValueError for another name, and for "low_res" without a record.
    """
    if name == "none":
        return NoDerivative()
    if name == "low_res":
        if field is None:
            raise ValueError(
                "Derivative source 'low_res' needs the trajectory of the Low-Res Sampler. "
                "Connect it, or choose 'history'."
            )
        return LowResDerivative(field)
    if name == "history":
        return HistoryDerivative()
    if name == "blend":
        return BlendDerivative(field)
    raise ValueError(f"Unknown derivative source '{name}'; choose one of {', '.join(SOURCES)}.")
