"""Prints, as JSON, the CPU seconds of one call on one device, and of every thread that shares it on two.

Run by itself, so that torch computes on the thread that calls it and not in a pool. The threads take turns:
what one of them takes then does not depend on what else this machine computes beside it.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from threading import Lock

import torch
from sharing_cases import Call, sharing_of

from s2flow_core.attention.sharing.head_sharing import HeadSharing
from s2flow_core.attention.sharing.helper import Helper
from s2flow_core.attention.sharing.trial import Trial
from s2flow_core.windows.grid import TokenGrid

ROUNDS = 3
WINDOWS = Call(10, grid=TokenGrid((4, 32, 40), (2, 8, 8)))
CALLS = {"windows": WINDOWS, "windows and tail": replace(WINDOWS, tail=True)}


def main() -> None:
    torch.set_num_threads(1)
    Trial.shares = property(lambda _: True)  # pyright: ignore[reportAttributeAccessIssue]
    # Dealt by cost alone: on a busy machine wall time says little about speed.
    Trial.learns_speeds = property(lambda _: False)  # pyright: ignore[reportAttributeAccessIssue]
    spent: list[float] = []
    helpers_part, own_part, turn = Helper._compute, HeadSharing._own, Lock()

    def timed(self, share):
        with turn:
            began = time.thread_time()
            done = helpers_part(self, share)
            spent.append(time.thread_time() - began)
            return done

    def own(self, *given):
        with turn:
            own_part(self, *given)

    Helper._compute = timed
    HeadSharing._own = own  # pyright: ignore[reportAttributeAccessIssue]
    print(json.dumps({name: times_of(call, spent) for name, call in CALLS.items()}))


def times_of(call: Call, spent: list[float]) -> dict[str, list[float]]:
    """Of a few rounds; spent: where a helper notes its time."""
    alone, main, other = [], [], []
    with sharing_of(2) as sharing:
        for _ in range(1 + ROUNDS):
            alone.append(thread_seconds(call, None))
            spent.clear()
            main.append(thread_seconds(call, sharing))
            other += spent
            assert len(other) == len(main)
    return {"alone": alone[1:], "main": main[1:], "helper": other[1:]}


def thread_seconds(call: Call, sharing: HeadSharing | None) -> float:
    call.qkv()  # made before, and kept
    began = time.thread_time()
    call.compute("torch_boxes", sharing)
    return time.thread_time() - began


if __name__ == "__main__":
    main()
