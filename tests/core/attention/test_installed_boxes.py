"""Boxes by the attention that is installed: right where it is, and left alone where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from attention_cases import TOLERANCE, Case, cases, reference, relative_error
from backend_doubles import a_call, speeds
from hypothesis import given, settings
from torch import Tensor

from s2flow_core.attention import choice, fastest
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import InstalledAttention, VisitedKeys, attend
from s2flow_core.attention.choice import BackendChooser
from s2flow_core.attention.errors import BackendRefused
from s2flow_core.attention.measured_rates import MeasuredRates
from s2flow_core.attention.registry import BACKENDS
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid

GRID = TokenGrid((2, 8, 8), (1, 2, 2))
CALL = a_call(GRID, ((1, 2, 2), (2, 4, 1)))


def exact(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    assert bias is None
    return attend(q, k, v, None, q.shape[-1] ** -0.5)


def rounded(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """As SageAttention rounds: a few percent."""
    return exact(q, k, v, bias) * 1.03


def of_whole_videos_alone(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """A sparse attention of another pack, which keeps the first half of what it takes for the video."""
    return exact(q, k[:, :, : k.shape[2] // 2], v[:, :, : v.shape[2] // 2], bias)


def refusing(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    raise ValueError("headdim must be 40")


def with_installed(run: Callable, name: str = "theirs", eight_bits: bool = False):
    return replace(CALL, installed=InstalledAttention(name, run, eight_bits))


@given(cases())
@settings(max_examples=100)
def test_it_matches_the_definition(case: Case):
    case = replace(case, mask="none")
    counts = VisitedKeys()
    result = window_attention(
        *case.tensors(),
        VideoSequence(case.grid, case.prefix, case.suffix, None),
        HeadWindows(torch.tensor(case.extents), tail=False),
        backend="installed_boxes",
        installed=InstalledAttention("theirs", exact),
        stats=counts,
    )
    assert relative_error(result, reference(case)) <= TOLERANCE[case.dtype]
    assert 0 < counts.seen == counts.computed <= counts.possible


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"installed": None}, "the caller names no attention that is installed."),
        ({"installed": InstalledAttention("comfy.attention_pytorch", exact)}, "is torch's own"),
        ({"tail": True}, "it cannot add the tail of skipped tiles."),
        ({"key_bias": torch.zeros(1, 128)}, "it cannot hide single keys"),
    ],
)
def test_it_says_where_it_cannot_help(changes: dict, words: str):
    call = replace(with_installed(exact), **changes)
    assert words in str(BACKENDS["installed_boxes"].refusal(call))
    with pytest.raises(BackendRefused, match="installed_boxes"):
        BackendChooser("installed_boxes").compute(call)


@pytest.mark.parametrize(
    ("run", "eight_bits", "trusted"),
    [
        (exact, False, True),
        (exact, True, True),
        (rounded, True, True),
        (rounded, False, False),
        (of_whole_videos_alone, True, False),
        (of_whole_videos_alone, False, False),
        (refusing, False, False),
    ],
)
def test_auto_takes_it_where_it_is_fastest_and_right(
    monkeypatch, caplog, run, eight_bits: bool, trusted: bool
):
    caplog.set_level("INFO")
    monkeypatch.setattr(fastest, "_FLOPS_PER_CALL", 0.0)
    speeds(monkeypatch, theirs=1e10, torch_boxes=2e10, installed_boxes=4e10)
    call = with_installed(run, eight_bits=eight_bits)
    chooser = BackendChooser()
    chosen = chooser.choose(call)
    assert chosen.backend == ("installed_boxes" if trusted else "torch_boxes")
    said = [record for record in caplog.records if "'installed_boxes'" in record.message]
    assert [record.levelname for record in said] == ([] if trusted else ["INFO"])
    expected = torch_boxes.run(call, (lambda q, k, v, bias, scale: run(q, k, v, bias)) if trusted else attend)
    assert torch.equal(chooser.compute(call), expected)


def test_small_calls_on_a_cpu_measure_nothing(monkeypatch):
    monkeypatch.setattr(choice, "rate", None)
    call = with_installed(refusing)
    assert BackendChooser().choose(call).backend in ("torch_boxes", "dense")


def test_what_was_measured_holds_for_that_attention_alone(monkeypatch, tmp_path):
    asked = speeds(monkeypatch, one=1e10, other=1e10, torch_boxes=1e9, installed_boxes=4e10)
    rates = MeasuredRates(tmp_path / "rates.json")
    for name in ("one", "other", "one"):
        BackendChooser("auto", rates).choose(with_installed(exact, name))
    assert asked.count("installed_boxes") == 2 and asked.count("torch_boxes") == 1


def test_memory_that_runs_out_does_not_lead_to_it(monkeypatch):
    from s2flow_core.attention.less_memory import _ways

    ways = [str(way) for way in _ways(with_installed(exact), "torch_boxes")]
    assert ways[0] == "all heads at once" and not any("installed" in way for way in ways)
