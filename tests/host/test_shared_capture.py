"""A small run on several GPUs: the video and the record of one, measured where the heads are."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from tiny_wan import LAYERS, STEPS
from two_devices import helping_threads


@pytest.fixture(scope="module")
def alone(graph):
    return graph.low_res()


def same_record(one: Any, other: Any) -> bool:
    """Sums over rows may be cut differently, which half precision hardly shows."""
    pairs = ((one.reach.mass, other.reach.mass), (one.reach.error, other.reach.error))
    return all(torch.allclose(a.float(), b.float(), rtol=2e-3, atol=2e-4) for a, b in pairs)


def test_the_small_run_is_that_of_one_gpu(graph, alone, shares, monkeypatch, caplog):
    capture = graph.modules.pack("nodes.host.attention.capture")
    measure, threads = capture.measure_head_sums, []

    def noting(q: torch.Tensor, *given: Any) -> Any:
        threads.append((threading.current_thread() is threading.main_thread(), q.shape[:2]))
        return measure(q, *given)

    monkeypatch.setattr(capture, "measure_head_sums", noting)
    with caplog.at_level("WARNING"):
        latent, trajectory = graph.low_res(gpus=2)
    assert torch.equal(latent["samples"], alone[0]["samples"])
    assert same_record(trajectory, alone[1])
    assert not [r for r in caplog.records if "S²Flow" in r.getMessage()]
    # One of both heads each, of the positive prompt alone.
    assert sorted(threads) == sorted([(True, (1, 1)), (False, (1, 1))] * STEPS * LAYERS)
    assert shares == [1] * STEPS * LAYERS and helping_threads() == []
    step = trajectory.step_seconds
    assert 0 < step.attention < step.whole and 0 < step.capture < step.whole


@pytest.mark.parametrize("s", [0.25, 0.5])
@pytest.mark.parametrize("policy", ["error", "paper"])
def test_its_windows_are_those_of_one_gpu(graph, alone, shares, policy, s):
    _, trajectory = graph.low_res(gpus=2)
    plans = [graph.windows(t, graph.upsample(t)[0], s=s, policy=policy) for t in (alone[1], trajectory)]
    assert torch.equal(plans[0].extents, plans[1].extents)


def test_mass_alone_goes_with_its_heads_too(graph, shares):
    given = [graph.low_res(capture_error=False, gpus=gpus)[1].reach for gpus in (1, 2)]
    assert given[0].error is given[1].error is None and shares
    assert torch.allclose(given[0].mass.float(), given[1].mass.float(), atol=1e-3)


def test_a_run_that_measures_nothing_is_shared_all_the_same(graph, alone, shares):
    latent, trajectory = graph.low_res(capture_rows=0, gpus=2)
    assert torch.equal(latent["samples"], alone[0]["samples"]) and trajectory.reach is None
    assert shares == [1] * STEPS * LAYERS and helping_threads() == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("broken card")])
def test_what_a_helper_cannot_measure_the_main_device_does(graph, alone, shares, monkeypatch, caplog, error):
    capture = graph.modules.pack("nodes.host.attention.capture")
    measure = capture.measure_head_sums

    def failing(*given: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise error
        return measure(*given)

    monkeypatch.setattr(capture, "measure_head_sums", failing)
    with caplog.at_level("WARNING"):
        latent, trajectory = graph.low_res(gpus=2)
    assert torch.equal(latent["samples"], alone[0]["samples"])
    assert same_record(trajectory, alone[1]) and helping_threads() == []
    said = [r.getMessage() for r in caplog.records if "S²Flow" in r.getMessage()]
    if isinstance(error, torch.OutOfMemoryError):
        assert said == []  # its attention fits, only the measurement is made again
    else:
        assert said == ["S²Flow: cpu:1 failed (broken card); this run goes on with cpu."]


def test_what_another_pack_computes_is_measured_on_one_device(graph, shares, caplog):
    from unusual_guiders import below_ours

    guider = below_ours(graph.guider, lambda original, *given, **named: original(*given, **named))
    expected = graph.low_res(guider=guider)[1]
    with caplog.at_level("WARNING"):
        trajectory = graph.low_res(guider=guider, gpus=2)[1]
    assert torch.equal(trajectory.reach.mass, expected.reach.mass) and shares == []
    assert "it stays on one GPU, because another node computes it" in caplog.text


def test_a_cancelled_small_run_leaves_no_thread(graph, shares):
    import comfy.model_management

    blocks = graph.guider.model_patcher.model.diffusion_model.blocks
    hook = blocks[1].register_forward_pre_hook(
        lambda *_: comfy.model_management.interrupt_current_processing()
    )
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            graph.low_res(gpus=2)
    finally:
        hook.remove()
    assert shares and helping_threads() == []
