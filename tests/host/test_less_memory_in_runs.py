"""A run whose memory fails once goes on, gives the same video, and says what it did."""

from __future__ import annotations

import pytest
import torch
from failing_allocator import FailingAllocator

LARGE = 40_000  # bytes: the attention and the feed-forward of the small model ask for more


def windowed(graph, record):
    return graph.high_res(record[1], windows=record[2], trajectory=record[0], order=3, backend="torch_boxes")


@pytest.fixture(scope="module")
def whole(graph, record):
    with FailingAllocator(LARGE) as memory:
        result = windowed(graph, record)
    return result, memory.requests


def test_any_large_request_of_the_large_run_may_fail(graph, record, whole, amount):
    """One of the first fifty, or at other places of the run."""
    result, requests = whole
    places = amount("requests for memory that fail", 6, 50)
    # Few are spread over the run; all fifty are the first ones.
    stride = max(1, requests // places.number) if places.number < 50 else 1
    finished = 0
    for place in places:
        with FailingAllocator(LARGE, nth=1 + place * stride) as memory:
            try:
                again = windowed(graph, record)
            except torch.OutOfMemoryError:
                continue  # the small inputs of the node itself, before anything was computed
            finally:
                assert memory.failures == 1
        finished += 1
        assert torch.allclose(again, result, atol=1e-5)
    assert finished >= min(0.9 * places.number, places.number - 1)


@pytest.mark.parametrize("after", [True, False])
def test_what_was_computed_is_not_lost_around_the_steps(graph, record, whole, monkeypatch, after, caplog):
    """Memory that fails before the first step, or after the last one, when the result is handed over."""
    sampling = graph.guider.model_patcher.get_model_object("model_sampling")
    name = "inverse_noise_scaling" if after else "noise_scaling"
    original, failed = getattr(type(sampling), name), []

    def failing(self, *given, **named):
        if not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *given, **named)

    monkeypatch.setattr(type(sampling), name, failing)
    assert torch.equal(windowed(graph, record), whole[0])
    assert caplog.text.count("tries once more") == 1


@pytest.mark.parametrize("nth", [1, 4, 11])
def test_the_small_run_and_its_record_survive(graph, record, nth):
    with FailingAllocator(LARGE, nth=nth) as memory:
        latent, trajectory = graph.low_res()
    assert memory.failures == 1
    assert torch.allclose(latent["samples"], record[0].final, atol=1e-5)
    assert torch.isfinite(trajectory.reach.mass.float()).all()
    assert trajectory.reach.steps == record[0].steps


def test_capture_drops_rows_before_it_drops_the_run(graph, record, monkeypatch, caplog):
    capture = graph.modules.pack("nodes.host.attention.capture")
    measure = capture.measure_head_sums

    def measured(q, k, v, sequence, rows, *more):
        if len(rows) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure(q, k, v, sequence, rows, *more)

    monkeypatch.setattr(capture, "measure_head_sums", measured)
    latent, trajectory = graph.low_res()
    assert torch.equal(latent["samples"], record[0].final)
    assert trajectory.reach.steps == record[0].steps
    assert "goes on with capture_rows 12" in caplog.text
    assert caplog.text.count("ran out of memory while it measured") == 2  # 48, 24, 12: not in every layer


def test_a_step_that_never_fits_names_the_size_that_would(graph, record, monkeypatch):
    import comfy.model_management

    model = graph.guider.model_patcher.model
    cell = 8
    shape = tuple(record[1][0]["samples"].shape)
    needed = model.memory_required(list(shape))

    def free(device=None, torch_free_too=False):
        return (needed / 2, needed / 2) if torch_free_too else needed / 2

    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.diffusion_model.blocks[1].ffn.register_forward_pre_hook(full)
    try:
        with pytest.raises(RuntimeError, match=r"Out of memory at step 1 of 3") as stopped:
            windowed(graph, record)
    finally:
        hook.remove()
    height, width = shape[-2:]
    assert f"video of {width * cell}×{height * cell} (3 latent frames)" in str(stopped.value)
    # 0.8 of half the memory: sides of sqrt(0.4), rounded down to whole patches
    assert f"About {int(width * 0.4**0.5) // 2 * 2 * cell}×" in str(stopped.value)
    assert isinstance(stopped.value, comfy.model_management.OOM_EXCEPTION)
