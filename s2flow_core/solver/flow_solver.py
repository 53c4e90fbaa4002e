"""The HR solver: Taylor steps along the flow, and the sources of their derivatives.

S²Flow (Eq. 10-12) adds `h²/2·u'` to the Euler step and takes u' from the LR trajectory, at no extra model
call. That term is as good as the LR field resembles the HR one, and this likeness does not grow with the
number of steps: at half resolution the order stays 1 (`python -m benchmarks.solver`). HR's own last
velocities have no such bias, but say nothing about what comes next. `blend` takes both: history as the base,
and from the LR record only what history cannot know, in the amount that the last three steps have proved.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..latent.flow import velocity
from .derivatives import Node, NoDerivative, StepView, make_source
from .low_res_field import LowResField

ORDERS = (1, 2, 3)
# What won the comparison of `python -m benchmarks.solver`; the paper's setting is order 2, "low_res".
DEFAULT_SOURCE = "blend"
DEFAULT_ORDER = 3


class FlowSolver:
    """One HR run: remembers its last velocities, so make a new one for every run.

    order: 1 (Euler), 2 or 3. source: one of SOURCES. field: the LR record, required by "low_res" and used by
    "blend" when given. switch_sigma: sigma at which the model changes experts (Wan 2.2: the boundary; sigma
    >= switch_sigma is the first expert); no difference reaches across it. With order 1 or source "none" the
    result is bit-identical to ComfyUI's Euler sampler. Raises ValueError for another order or source, and for
    "low_res" without a field.
    """

    def __init__(
        self, order: int, source: str, field: LowResField | None = None, switch_sigma: float | None = None
    ):
        if order not in ORDERS:
            raise ValueError(f"The solver's order is {order}; choose 1 (Euler), 2 or 3.")
        self._order = order
        self._source = NoDerivative() if order == 1 else make_source(source, field)
        self._switch = switch_sigma
        self._past: list[Node] = []

    def step(self, x: Tensor, denoised: Tensor, sigmas: Tensor, i: int) -> Tensor:
        """State at sigmas[i+1] from state x and clean estimate at sigmas[i]; steps must come in order.

        x, denoised: (B, C, T, H, W) in model space, the result too. sigmas: (N+1,), the whole HR schedule.
        """
        sigma, next_sigma = float(sigmas[i]), float(sigmas[i + 1])
        self._past = [node for node in self._past if self._same_expert(node.sigma, sigma)]
        u = velocity(x, denoised, sigmas[i])
        if self._order == 3 and self._source.corrects_start and len(self._past) == 1:
            # The step that led here had no history and was Euler; with both its ends known it becomes a
            # trapezoid. One such error of order h² would otherwise outweigh all later steps.
            x = x + (u - self._past[0].velocity) * ((sigma - self._past[0].sigma) / 2)
            u = velocity(x, denoised, sigmas[i])
        here = Node(sigma, u)
        view = StepView(
            here=here,
            past=tuple(self._past),
            next_sigma=next_sigma,
            next_same_expert=self._same_expert(next_sigma, sigma),
            steps=len(sigmas) - 1,
        )
        first, second = self._source.derivatives(view, self._order)
        self._past = [here, *self._past[:1]]
        return taylor_step(x, u, sigmas[i + 1] - sigmas[i], first, second)

    @property
    def history(self) -> tuple[Node, ...]:
        """The velocities that the next step looks back at, newest first, at most two."""
        return tuple(self._past)

    def go_on_from(self, history: Sequence[Node]) -> None:
        """Take over the history of a run that was stopped."""
        self._past = list(history)

    def _same_expert(self, a: float, b: float) -> bool:
        return self._switch is None or (a >= self._switch) == (b >= self._switch)


def taylor_step(
    x: Tensor,
    velocity: Tensor,
    h: Tensor | float,
    derivative: Tensor | None = None,
    second: Tensor | None = None,
) -> Tensor:
    """`x + hu [+ h²/2·u' [+ h³/6·u'']]` (S²Flow Eq. 10, 13); h = sigma_next - sigma < 0. Bare: Euler."""
    x = x + velocity * h
    if derivative is not None:
        x = x + derivative * (h * h / 2)
    if second is not None:
        x = x + second * (h * h * h / 6)
    return x
