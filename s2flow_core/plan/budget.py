"""Sharing one budget of attention among heads: who gains most from a larger window gets it.

A multiple-choice knapsack: every head takes one window, the mean cost is bounded, the sum of values counts.
With one price for cost (a Lagrange multiplier) the heads decide independently; the price is found by
bisection, what the steps of the heads' curves leave over is given away greedily.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_LEVELS = 96
"""Costs that a head chooses from: a large grid has thousands, and every round of the search looks at all."""

_BISECTIONS = 40
"""Halvings that narrow the price to 1e-12 of its range."""

_MOST_GREEDY_STEPS = 32
"""Bounds the last part; what is left to spend then is less than one head's next step at the best price."""

_ROUNDING = 1e-9
"""Costs are sums of float64 shares; a budget that is met exactly must not fail by their rounding."""


@dataclass(frozen=True)
class HeadCurves:
    """The best window of every head at growing cost.

    value, cost: (heads, levels) float64, rising along levels; choice: (heads, levels) int64, the windows.
    """

    value: Tensor
    cost: Tensor
    choice: Tensor

    def at(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(heads,) value and cost of one level per head."""
        return self.value.gather(1, level[:, None])[:, 0], self.cost.gather(1, level[:, None])[:, 0]


def allocate(value: Tensor, cost: Tensor, baseline: Tensor) -> Tensor:
    """(heads,) int64: windows of the greatest total value at no more than the total cost of `baseline`.

    value: (heads, windows), what each window is worth to each head; cost: (windows,), the same for all
    heads; baseline: (heads,) int64, a choice that is affordable by definition. Never worth less than the
    baseline: if the search does not beat it, the baseline is returned.
    """
    cost = cost.double()
    limit = cost[baseline].sum()
    choice = choose(head_curves(value, cost), limit)
    rows = torch.arange(len(value))
    better = value[rows, choice].double().sum() >= value[rows, baseline].double().sum()
    affordable = cost[choice].sum() <= limit + _ROUNDING
    return choice if better and affordable else baseline


def choose(curves: HeadCurves, limit: Tensor) -> Tensor:
    """(heads,) int64: windows of the greatest total value at a total cost of at most `limit`."""
    level = _spend_rest(curves, _level_at_best_price(curves, limit), limit)
    return curves.choice.gather(1, level[:, None])[:, 0]


def joined(curves: Sequence[HeadCurves]) -> HeadCurves:
    """The heads of several steps as those of one, to share one budget; all with the same list of costs."""
    return HeadCurves(
        torch.cat([of_step.value for of_step in curves]),
        torch.cat([of_step.cost for of_step in curves]),
        torch.cat([of_step.choice for of_step in curves]),
    )


def head_curves(value: Tensor, cost: Tensor) -> HeadCurves:
    """Reduce the windows to at most 96 levels of cost, each with a head's best window that is no dearer.

    value: (heads, windows); cost: (windows,), above 0. Fewer than 96 levels where windows share a cost.
    """
    order = cost.argsort(stable=True)
    worth = value.T[order]  # (windows, heads), cheapest first
    bounds = _level_ends(cost[order].double())
    values: list[Tensor] = []
    choices: list[Tensor] = []
    for start, end in zip([0, *bounds[:-1]], bounds, strict=True):
        best = worth[start:end].max(dim=0)
        values.append(best.values)
        choices.append(order[start:end][best.indices])
    table, index = torch.stack(values, dim=1).cummax(dim=1)  # (heads, levels)
    choice = torch.stack(choices, dim=1).gather(1, index)
    return HeadCurves(table.double(), cost.double()[choice], choice)


def _level_ends(ascending: Tensor) -> list[int]:
    """Where levels end in a sorted list of costs; levels are finer where windows are small."""
    wanted = (
        torch.linspace(ascending[0].item() ** (1 / 3), ascending[-1].item() ** (1 / 3), _LEVELS).double() ** 3
    )
    ends = torch.searchsorted(ascending, wanted + _ROUNDING, right=True)
    ends[-1] = len(ascending)
    return sorted({int(end) for end in ends if end > 0})


def _level_at_best_price(curves: HeadCurves, limit: Tensor) -> Tensor:
    """(heads,) levels at the lowest price of cost for which the total stays within the limit."""

    def levels(price: float) -> Tensor:
        return (curves.value - price * curves.cost).argmax(dim=1)

    gain = (curves.value[:, -1:] - curves.value).amax()
    steps = curves.cost.diff(dim=1)
    steps = steps[steps > 0]
    # No step is worth more per cost than the whole gain for the smallest of them: here nobody buys.
    low, high = 0.0, float(gain / steps.min()) + 1.0 if len(steps) else 1.0
    if curves.at(levels(low))[1].sum() <= limit:
        return levels(low)
    for _ in range(_BISECTIONS):
        price = (low + high) / 2
        if curves.at(levels(price))[1].sum() <= limit:
            high = price
        else:
            low = price
    return _take_while_affordable(curves, levels(high), levels(low), limit)


def _take_while_affordable(curves: HeadCurves, level: Tensor, richer: Tensor, limit: Tensor) -> Tensor:
    """At the critical price many heads may change at once; let as many as can be paid for, cheapest first."""
    extra = curves.at(richer)[1] - curves.at(level)[1]
    order = extra.argsort(stable=True)
    paid = extra[order].cumsum(0) <= limit - curves.at(level)[1].sum()
    level = level.clone()
    level[order[paid]] = richer[order[paid]]
    return level


def _spend_rest(curves: HeadCurves, level: Tensor, limit: Tensor) -> Tensor:
    """Buy single steps with the best gain per cost until nothing affordable gains."""
    level = level.clone()
    for _ in range(_MOST_GREEDY_STEPS):
        value, cost = curves.at(level)
        extra = curves.cost - cost[:, None]
        gain = curves.value - value[:, None]
        possible = (extra <= limit - cost.sum() + _ROUNDING) & (gain > 0)
        rate = torch.where(possible, gain / extra.clamp_min(_ROUNDING), -torch.inf)
        best = int(rate.argmax())
        head, chosen = divmod(best, rate.shape[1])
        if not possible[head, chosen]:
            break
        level[head] = chosen
    return level
