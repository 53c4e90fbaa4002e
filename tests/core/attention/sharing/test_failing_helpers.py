"""A helper that fails costs time and one sentence, never the video; no ending leaves a thread."""

from __future__ import annotations

import threading

import pytest
import torch
from sharing_cases import MAIN, Call, failing_at, sharing_of

from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import InstalledAttention, attend
from s2flow_core.attention.shared_dense import shared_dense_attention
from s2flow_core.attention.sharing import helper, transport
from s2flow_core.attention.sharing.head_sharing import HeadSharing

pytestmark = pytest.mark.usefixtures("always_shared")

CALLS = 4


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def broken(*_, **__):
    raise RuntimeError("an illegal memory access was encountered\nand more")


def on_helpers(monkeypatch, name, wrap):
    """Replaces a function where a helper's thread calls it; the main thread keeps the right one."""
    own = getattr(torch_boxes, name)
    elsewhere = wrap(own)

    def either(*given, **named):
        main = threading.current_thread() is threading.main_thread()
        return (own if main else elsewhere)(*given, **named)

    monkeypatch.setattr(torch_boxes, name, either)


def runs_with(sharing, call):
    """A few layers of one run, against one device."""
    expected = call.compute("torch_boxes")
    return [torch.equal(call.compute("torch_boxes", sharing), expected) for _ in range(CALLS)]


@pytest.mark.parametrize("at", [1, 2, 9])
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (out_of_memory, "cpu:1 ran out of memory; this run goes on with cpu"),
        (broken, "cpu:1 failed (an illegal memory access was encountered); this run goes on with cpu"),
    ],
    ids=["memory", "error"],
)
def test_what_a_helper_fails_is_computed_by_the_main_device(monkeypatch, caplog, failure, said, at):
    call, before = Call(7, suffix=5, mask=True, tail=True), threading.active_count()
    with sharing_of(2) as sharing, monkeypatch.context() as patch:
        on_helpers(patch, "extra_keys", lambda own: failing_at(at, own, failure))
        assert all(runs_with(sharing, call))
        assert sharing.devices == [MAIN]
        assert threading.active_count() == before
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [f"S²Flow: {said}."]


@pytest.mark.parametrize("at", [1, 2, 3, 8, 30])
def test_wrong_bytes_of_a_broken_copy_are_noticed(monkeypatch, caplog, at):
    """At the pattern (1 and 2), on the way there, and on the way back."""
    call, before = Call(7), threading.active_count()
    with sharing_of(2) as sharing, monkeypatch.context() as patch:
        lost = failing_at(at, transport.moved, lambda x, device: torch.zeros_like(x))
        patch.setattr(transport, "moved", lost)
        assert all(runs_with(sharing, call))
        assert threading.active_count() == before
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning == "S²Flow: cpu:1 gives other bytes than it was sent; this run goes on with cpu."


def test_the_other_helpers_stay(monkeypatch, caplog):
    call = Call(7)
    compute = helper.Helper._compute

    def second_fails(self, share):
        if self.device.index == 2:
            broken()
        return compute(self, share)

    with sharing_of(4) as sharing, monkeypatch.context() as patch:
        patch.setattr(helper.Helper, "_compute", second_fails)
        assert all(runs_with(sharing, call))
        assert [str(device) for device in sharing.devices] == ["cpu", "cpu:1", "cpu:3"]
    assert "this run goes on with cpu, cpu:1, cpu:3." in caplog.text


class Cancelled(Exception):
    """As ComfyUI's."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled, torch.OutOfMemoryError])
def test_an_ending_on_the_main_device_waits_for_the_helpers(monkeypatch, caplog, error):
    """And what it raises is what the caller gets; afterwards the helpers can be used again."""
    call, before = Call(7), threading.active_count()
    expected = call.compute("dense")
    with sharing_of(3, cancels=(Cancelled,)) as sharing:

        def ending(part, numbers):
            if threading.current_thread() is threading.main_thread():
                raise error("now")
            return part.q

        with pytest.raises(error):
            sharing.attend(attention_call(call), (1.0,) * 7, ending, "test")
        assert torch.equal(call.compute("dense", sharing), expected)
    assert threading.active_count() == before
    assert caplog.records == []


def test_a_cancel_that_a_helper_meets_ends_the_run(caplog):
    def cancelled(part, numbers):
        if threading.current_thread() is not threading.main_thread():
            raise Cancelled
        return part.q

    before = threading.active_count()
    with sharing_of(3, cancels=(Cancelled,)) as sharing, pytest.raises(Cancelled):
        sharing.attend(attention_call(Call(7)), (1.0,) * 7, cancelled, "test")
    assert threading.active_count() == before
    assert caplog.records == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [(broken, "x fails on some of its heads: an illegal"), (out_of_memory, "too little memory")],
    ids=["whole layers only", "memory"],
)
def test_an_attention_that_takes_whole_layers_only_is_left_alone(caplog, failure, said):
    call = Call(7)

    def whole(q, k, v, bias):
        return attend(q, k, v, bias, 0.125) if q.shape[1] == 7 else failure()

    with sharing_of(2) as sharing:
        for _ in range(2):
            shared = shared_dense_attention(
                call.qkv(), call.sequence(), InstalledAttention("x", whole), sharing
            )
            assert shared is None
            assert sharing.may_share(attention_call(call), "x") is False
    warnings = [r.getMessage() for r in caplog.records if "cannot be shared" in r.getMessage()]
    assert len(warnings) == 1 and said in warnings[0]


def test_helpers_without_a_call_leave_no_thread_either():
    before = threading.active_count()
    HeadSharing(MAIN, [torch.device("cpu", 1)]).close()
    assert threading.active_count() == before


def attention_call(call):
    from s2flow_core.attention.call import AttentionCall

    q, k, v = call.qkv()
    extents = (call.grid.tiles,) * call.heads
    return AttentionCall(q, k, v, call.grid, extents, 0, 0, None, 0.125, tail=False)
