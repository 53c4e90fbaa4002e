"""Which backend computes a call: `auto` takes the fastest, head by head, and no kernel before it was checked.

Dense means the attention that the caller has installed, or torch's own where it names none. How fast each
of them runs depends on the chip, so it is measured once on small calls and kept (`MeasuredRates`); what a
call takes follows from the work that it really causes. Small calls on the CPU are decided by counting alone:
there, measuring costs more than a wrong choice, and a count gives the same answer on every run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import RLock

import torch
from torch import Tensor

from .call import AttentionCall, InstalledAttention, VisitedKeys, attend, head_runs
from .errors import BackendRefused, WindowsCannotWin
from .fastest import Choice, counted, fastest, windowed_heads
from .measured_rates import MeasuredRates, device_name
from .probe import Computes, rate, variant
from .registry import BACKENDS, Backend
from .sharing.head_sharing import HeadSharing
from .sharing.helper import Compute
from .trust import REPORT_AT, is_out_of_memory, say_left_out, wrong_numbers
from .work import dense_flops, head_flops

log = logging.getLogger(__name__)

_SMALL_CPU_FLOPS = 4e10
"""Calls below this (half a second on two cores) are decided by counting."""


class _DenseHeadsFailed(Exception):
    """The installed attention computes whole layers only."""


class BackendChooser:
    """Chooses for one run. name: of a backend, or "auto". rates: what is known of this machine. sharing: by
    the device of a call, what shares its heads with others.

    What fails is left out for as long as this object lives, so a run that had too little memory decides
    nothing for the next. Threads may share one.
    """

    def __init__(
        self,
        name: str = "auto",
        rates: MeasuredRates | None = None,
        sharing: Mapping[torch.device, HeadSharing] | None = None,
    ):
        self.name = name
        self.sharing: Mapping[torch.device, HeadSharing] = {} if sharing is None else sharing
        self.memory_steps = 0  # how far this run stepped down for want of memory
        self._rates = MeasuredRates() if rates is None else rates
        self._failed: set[str] = set()
        self._whole_layers = False  # the installed attention refused some heads of a layer
        self._choices: dict[tuple[object, ...], Choice] = {}
        self._said: set[tuple[object, ...]] = set()
        self._lock = RLock()

    def compute(self, call: AttentionCall) -> Tensor:
        """(B, heads, tokens, dim); raises as `window_attention` says."""
        if self.name != "auto":
            backend = self._by_name(call)
            costs = head_flops(call, backend) if backend.windows else (1.0,) * len(call.extents)
            # A helper may be another chip, so it is asked for there as well.
            return self._over_devices(
                call, costs, lambda part, _: self._by_name(part).run(part), backend, backend.by_installed
            )
        while True:
            choice = self.choose(call)
            if choice.backend == "dense":
                if call.installed is not None:
                    raise WindowsCannotWin(choice.reason)
                return BACKENDS["dense"].run(call)
            try:
                return self._run(call, choice)
            except Exception as error:  # no kernel's failure may end a sampling run
                if is_out_of_memory(error):
                    raise
                self._learn_from(error, choice, call)

    def _run(self, call: AttentionCall, choice: Choice) -> Tensor:
        """The whole call as chosen, once for all devices, so that every head is computed as on one."""
        main, backend = call.q.device, BACKENDS[choice.backend]

        def compute(part: AttentionCall, numbers: Sequence[int]) -> Tensor:
            if part.q.device != main:
                self._require(backend, part)
            windowed = tuple(head for head, number in enumerate(numbers) if number in choice.heads)
            return _run(part, replace(choice, heads=windowed))

        costs = choice.costs or (1.0,) * len(call.extents)
        installed = backend.by_installed or len(choice.heads) < len(call.extents)
        return self._over_devices(call, costs, compute, backend, installed)

    def _over_devices(
        self, call: AttentionCall, costs: Sequence[float], compute: Compute, backend: Backend, installed: bool
    ) -> Tensor:
        """installed: whether the installed attention computes some of the heads."""
        sharing = self.sharing.get(call.q.device)
        alone = installed and call.installed is not None and not call.installed.shareable
        if sharing is None or alone:
            return compute(call, range(len(costs)))
        return sharing.attend(call, costs, compute, backend.name)

    def choose(self, call: AttentionCall) -> Choice:
        """What `auto` computes this call with: never something that was found slower than dense."""
        kind = _kind(call)
        with self._lock:
            if kind not in self._choices:
                self._choices[kind] = self._new_choice(call)
            return self._choices[kind]

    def _new_choice(self, call: AttentionCall) -> Choice:
        if not windowed_heads(call):
            return Choice("dense", (), "Every window is the whole video.")
        small = call.q.device.type == "cpu" and dense_flops(call) * len(call.extents) < _SMALL_CPU_FLOPS
        able = [
            backend
            for backend in BACKENDS.values()
            if backend.windows and backend.accepted(call) and not (small and backend.by_installed)
            if backend.refusal(call) is None and self._trusts(backend, call)
        ]
        if not able:
            return Choice("dense", (), "No windowed backend can compute this call.")
        if small:
            choice = counted(call)
        else:
            rival: Computes = BACKENDS["dense"] if call.installed is None else call.installed
            rates = {computes.name: self._rate(computes, call) for computes in (rival, *able)}
            choice = fastest(call, rival.name, able, rates)
            self._say_once(call, choice)
        if self._whole_layers and choice.heads:
            return replace(choice, heads=tuple(range(len(call.extents))))
        return choice

    def _trusts(self, backend: Backend, call: AttentionCall) -> bool:
        """Whether a backend's numbers are right here; one that is not trusted is logged and left out."""
        if backend.name in self._failed:
            return False
        try:
            problem = wrong_numbers(backend, call, self._rates)
        except Exception as error:  # a kernel that cannot be compiled raises anything
            problem = error
        if problem is not None:
            self._leave_out(backend.name, call, problem)
        return problem is None

    def _rate(self, computes: Computes, call: AttentionCall) -> float:
        """Operations per second; 0 where it fails, which is logged."""
        if computes.name in self._failed:
            return 0.0
        name, what = (
            computes.name,
            f"{'mask, ' if call.key_bias is not None else ''}{call.q.dtype}, {call.q.shape[3]}",
        )
        if isinstance(computes, Backend) and computes.windows:
            name, what = computes.measured_as(call), variant(call)
        try:
            name = f"speed of {name}: {what}"
            return self._rates.number(call.q.device, name, lambda: rate(computes, call))
        except Exception as error:
            self._leave_out(computes.name, call, error)
            return 0.0

    def _learn_from(self, error: Exception, choice: Choice, call: AttentionCall) -> None:
        """What failed once in this run is not tried again."""
        with self._lock:
            if isinstance(error, _DenseHeadsFailed):
                self._whole_layers = True
                log.info("S²Flow attention: the installed attention takes whole layers only (%s).", error)
            else:
                self._leave_out(choice.backend, call, error)
            self._choices.clear()

    def _leave_out(self, name: str, call: AttentionCall, problem: str | Exception) -> None:
        if name not in self._failed:
            self._failed.add(name)
            say_left_out(name, call, problem, ours=name not in BACKENDS or not BACKENDS[name].by_installed)

    def _say_once(self, call: AttentionCall, choice: Choice) -> None:
        """One line for every kind of call; which heads are windowed changes with every layer."""
        said = (str(call.q.device), variant(call), call.q.shape[2], call.installed and call.installed.name)
        if said not in self._said:
            self._said.add(said)
            log.info("S²Flow attention, %d tokens: %s", call.q.shape[2], choice.reason)

    def _by_name(self, call: AttentionCall) -> Backend:
        if self.name not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise BackendRefused(f"There is no attention backend '{self.name}'; choose auto, {known}.")
        backend = BACKENDS[self.name]
        self._require(backend, call)
        return backend

    def _require(self, backend: Backend, call: AttentionCall) -> None:
        """Raises BackendRefused unless a backend can compute a call and is right on its device."""
        refusal = backend.refusal(call)
        if refusal is None and backend.windows:
            problem = wrong_numbers(backend, call, self._rates)
            refusal = problem and f"it {problem} on {device_name(call.q.device)}; report it at {REPORT_AT}."
        if refusal:
            raise BackendRefused(
                f"The attention backend '{backend.name}' cannot be used: {refusal} Choose auto instead."
            )


def _run(call: AttentionCall, choice: Choice) -> Tensor:
    """Some heads under their windows, the others without. Raises _DenseHeadsFailed if those fail."""
    windowed = tuple(head for head in call.heads if head in choice.heads)
    dense = [head for head in call.heads if head not in choice.heads]
    visited, out = VisitedKeys(), call.output()
    if windowed:
        all_heads = len(windowed) == call.q.shape[1]
        some = replace(call, stats=visited, result=out, some_heads=None if all_heads else windowed)
        BACKENDS[choice.backend].run(some)
    for heads in head_runs(dense):
        out[:, heads] = _dense(call, heads)
        visited.add_dense(call.q.shape[0], heads.stop - heads.start, call.grid.tokens)
    if call.stats is not None:
        call.stats.add(visited)
    return out


def _dense(call: AttentionCall, heads: slice) -> Tensor:
    """(B, some heads, tokens, dim) of the installed attention, or of torch's."""
    q, k, v = (x[:, heads] for x in (call.q, call.k, call.v))
    if call.installed is None:
        return attend(q, k, v, None if call.key_bias is None else call.key_bias[:, None], call.scale)
    return _by_installed(call.installed, q, k, v, call.key_bias)


def _by_installed(
    installed: InstalledAttention, q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None
) -> Tensor:
    try:
        return installed.attend(q, k, v, key_bias)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _DenseHeadsFailed(str(error)) from error


def _kind(call: AttentionCall) -> tuple[object, ...]:
    """Calls of one kind are computed alike."""
    return (
        str(call.q.device),
        call.q.dtype,
        tuple(call.q.shape),
        call.grid,
        call.extents,
        call.prefix,
        call.tail,
        call.key_bias is not None,
        None if call.installed is None else (call.installed.name, call.installed.eight_bits),
    )
