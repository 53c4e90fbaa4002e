"""One attention call on several devices: each computes some heads, and the result is that of one device.

Heads do not know of each other, so nothing but q, k, v and the result travels: no second copy of the model,
no other process. Equal cards give equal bits. Untested on CUDA; on the CPU the tests hold it to the bit.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Event

import torch
from torch import Tensor

from ..call import AttentionCall, VisitedKeys
from ..trust import first_line, is_out_of_memory
from .deal import deal_heads
from .helper import Compute, Done, Helper, Share
from .stopwatch import Stopwatch
from .transport import WrongBytes
from .trial import Trial

log = logging.getLogger(__name__)


class HeadSharing:
    """The helpers of one run and what is known of them; `close` leaves no thread.

    main: where calls come from and results go; devices: the helpers. cancels: errors that end the run also
    where they are raised on a helper. Used by one thread.
    """

    def __init__(
        self,
        main: torch.device,
        devices: Sequence[torch.device],
        cancels: tuple[type[BaseException], ...] = (),
    ):
        self.main = main
        self.cancels = cancels
        self._helpers = [Helper(main, device) for device in devices]
        self._trials: dict[Hashable, Trial] = {}
        self._said = False

    @property
    def devices(self) -> list[torch.device]:
        """Those that compute: the main one first."""
        return [self.main, *(helper.device for helper in self._helpers)]

    def close(self) -> None:
        """Joins all threads."""
        for helper in self._helpers:
            helper.close()
        self._helpers.clear()

    def may_share(self, call: AttentionCall, kind: str) -> bool:
        """Whether calls of this kind are shared, or may be after a trial."""
        trial = self._trials.get(_key(call, kind))
        return bool(self._helpers) and call.q.shape[1] > 1 and (trial is None or _hopes(trial))

    def give_up(self, call: AttentionCall, kind: str, reason: str) -> None:
        """Leaves calls of this kind to the main device."""
        self._trials.setdefault(_key(call, kind), Trial()).give_up()
        log.warning("S²Flow: attention cannot be shared (%s); using one GPU.", reason)

    def attend(self, call: AttentionCall, costs: Sequence[float], compute: Compute, kind: str) -> Tensor:
        """(B, heads, tokens, dim) of a whole call.

        costs: what each head takes, in one unit. compute: as `Compute`; it may run on several threads at
        once. kind: calls of one kind are tried out together. What fails on a helper is computed on the main
        device, which raises what it raises; then no helper works on the call any more.
        """
        if not self.may_share(call, kind):
            return compute(call, range(len(costs)))
        trial = self._trials.setdefault(_key(call, kind), Trial())
        watch, shared = Stopwatch(self.main), trial.shares
        out = self._shared(call, costs, compute, trial) if shared else compute(call, range(len(costs)))
        watch.stop()
        if not trial.decided:
            total = sum(costs)
            trial.note(watch.seconds() / max(total, 1e-9))
            if trial.decided:
                self._say(trial, total, costs)
        return out

    def _shared(self, call: AttentionCall, costs: Sequence[float], compute: Compute, trial: Trial) -> Tensor:
        dealt = deal_heads(costs, trial.speeds.of(self.devices))
        out, ended, visited = call.output(), Event(), VisitedKeys()
        running: list[tuple[Helper, list[int], Future[Done]]] = []
        try:
            for helper, heads in zip(self._helpers, dealt[1:], strict=True):
                if heads:
                    running.append((helper, heads, helper.start(Share(call, heads, compute, out, ended))))
            watch = Stopwatch(self.main)
            self._own(call, dealt[0], compute, out, visited)
            watch.stop()
            lost: list[int] = []
            for helper, heads, future in running:
                lost += self._collect(helper, heads, future, visited)
                if trial.learns_speeds and future.exception() is None:
                    cost = sum(costs[head] for head in heads)
                    trial.speeds.learn(helper.device, cost, future.result().seconds)
        except BaseException:
            ended.set()
            wait([future for _, _, future in running])
            raise
        if trial.learns_speeds and dealt[0]:
            trial.speeds.learn(self.main, sum(costs[head] for head in dealt[0]), watch.seconds())
        self._own(call, sorted(lost), compute, out, visited)
        if call.stats is not None:
            call.stats.add(visited)
        return out

    def _own(
        self, call: AttentionCall, heads: list[int], compute: Compute, out: Tensor, visited: VisitedKeys
    ) -> None:
        """Computes heads on the main device, in place."""
        if heads:
            part = replace(call, some_heads=tuple(heads), result=out, stats=visited)
            compute(part, range(call.q.shape[1]))

    def _collect(
        self, helper: Helper, heads: list[int], future: Future[Done], visited: VisitedKeys
    ) -> list[int]:
        """Waits for a helper; the heads that it failed to compute, and then it is dropped."""
        try:
            visited.add(future.result().visited)
        except self.cancels:
            raise
        except Exception as error:
            self._drop(helper, error)
            return heads
        return []

    def _drop(self, helper: Helper, error: Exception) -> None:
        self._helpers.remove(helper)
        helper.close()
        rest = ", ".join(map(str, self.devices))
        log.warning("S²Flow: %s %s; this run goes on with %s.", helper.device, _what(error), rest)

    def _say(self, trial: Trial, total: float, costs: Sequence[float]) -> None:
        """What was decided, once in a run."""
        if self._said:
            return
        self._said = True
        if trial.shares:
            dealt = deal_heads(costs, trial.speeds.of(self.devices))
            parts = (f"{d} ({len(heads)} heads)" for d, heads in zip(self.devices, dealt, strict=True))
            log.info("S²Flow: attention shared by %s", ", ".join(parts))
            return
        alone, shared = (1e3 * total * seconds for seconds in (trial.alone, trial.shared))
        log.info(
            "S²Flow: sharing is no faster here (%.0f ms alone, %.0f ms shared); using one GPU", alone, shared
        )


def _key(call: AttentionCall, kind: str) -> Hashable:
    return kind, tuple(call.q.shape), call.q.dtype


def _hopes(trial: Trial) -> bool:
    return trial.shares or not trial.decided


def _what(error: Exception) -> str:
    """What happened to a device, in words."""
    if is_out_of_memory(error):
        return "ran out of memory"
    if isinstance(error, WrongBytes):
        return "gives other bytes than it was sent"
    return f"failed ({first_line(error)})"
