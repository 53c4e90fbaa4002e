"""Which device computes which heads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

_LEAST_GAIN = 1e-6
"""Of the slowest device's time; what is less may be rounding, and would be exchanged to and fro."""

_NEAR_ENOUGH = 1.005
"""The slowest device's time against the mean; a better deal would take longer to find than it saves."""


def deal_heads(costs: Sequence[float], speeds: Sequence[float]) -> list[list[int]]:
    """For every device its heads, ascending, so that all are done at nearly the same time.

    Longest processing time first (Graham 1969): the dearest head first, each to the device that is done
    soonest. That is at most a third above the best deal; then heads are moved or exchanged for as long as the
    slowest device gets faster by it. costs: per head, not negative; speeds: per device, above 0; each in one
    unit. Heads of equal cost are handed out as neighbours, which can be viewed instead of copied.
    """
    hands: list[list[float]] = [[] for _ in speeds]  # the costs that each device takes
    for cost in sorted(costs, reverse=True):
        soonest = min(range(len(speeds)), key=lambda device: (sum(hands[device]) + cost) / speeds[device])
        hands[soonest].append(cost)
    while _improve(hands, speeds):
        pass
    return _by_number(costs, hands)


def _improve(hands: list[list[float]], speeds: Sequence[float]) -> bool:
    """Moves a head or two of the slowest device to another, for fewer or lighter ones, by what gains most;
    whether anything gains."""
    times = [sum(hand) / speed for hand, speed in zip(hands, speeds, strict=True)]
    slowest = max(range(len(times)), key=times.__getitem__)
    if times[slowest] * sum(speeds) <= _NEAR_ENOUGH * sum(map(sum, hands)):
        return False
    best, change = times[slowest] * (1 - _LEAST_GAIN), None
    gives = _handfuls(hands[slowest])
    for other in range(len(hands)):
        if other == slowest:
            continue
        for (given, some), (taken, others) in product(gives.items(), _handfuls(hands[other]).items()):
            here = times[slowest] - (given - taken) / speeds[slowest]
            there = times[other] + (given - taken) / speeds[other]
            if here < best and there < best:
                best, change = max(here, there), (other, some, others)
    if change is None:
        return False
    other, some, others = change
    for cost in some:
        hands[slowest].remove(cost)
    for cost in others:
        hands[other].remove(cost)
    hands[other] += some
    hands[slowest] += others
    return True


def _handfuls(hand: list[float]) -> dict[float, tuple[float, ...]]:
    """What can be taken out of a hand together, up to two heads, by its cost."""
    return {sum(some): some for count in range(3) for some in combinations(hand, count)}


def _by_number(costs: Sequence[float], hands: list[list[float]]) -> list[list[int]]:
    """The heads that have the dealt costs, ascending; those of one cost in a row."""
    alike: dict[float, list[int]] = {}
    for head, cost in enumerate(costs):
        alike.setdefault(cost, []).append(head)
    dealt: list[list[int]] = []
    for hand in hands:
        dealt.append(sorted(alike[cost].pop(0) for cost in hand))
    return dealt
