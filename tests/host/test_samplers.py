"""The two samplers against ComfyUI's own, and windows against dense attention."""

from __future__ import annotations

import pytest
import torch
from plain_runs import core_euler
from tiny_wan import LATENT, LAYERS, STEPS, SeededNoise, wan_graph


@pytest.fixture(scope="module")
def low_res(graph):
    return graph.low_res()


@pytest.fixture(scope="module")
def triple(graph, low_res):
    return graph.upsample(low_res[1])


def test_low_res_sampler_is_core_euler_to_the_bit(graph, low_res):
    expected = core_euler(graph, SeededNoise(3), graph.sigmas, {"samples": torch.zeros(LATENT)})
    assert torch.equal(low_res[0]["samples"], expected)


def test_trajectory_holds_every_step_layer_and_head(low_res):
    trajectory = low_res[1]
    assert trajectory.steps == STEPS
    assert trajectory.token_shape == (3, 4, 4)
    assert tuple(trajectory.denoised.shape) == (STEPS, *LATENT)
    assert tuple(trajectory.reach.mass.shape[:3]) == (STEPS, LAYERS, 2)
    assert torch.allclose(trajectory.reach.mass[..., -1, -1, -1].float(), torch.ones(()), atol=1e-3)


def test_recorded_estimates_give_back_the_states(graph, low_res):
    """Euler replayed from the record alone ends where the run did, to the record's half precision."""
    trajectory = low_res[1]
    to_model = graph.guider.model_patcher.model.process_latent_in
    x = trajectory.noise[0].float()
    for i, sigma in enumerate(trajectory.sigmas[:-1]):
        velocity = (x - to_model(trajectory.denoised[i].float())) / sigma
        x = x + velocity * (trajectory.sigmas[i + 1] - sigma)
    final = graph.guider.model_patcher.model.process_latent_out(x)
    assert torch.allclose(final, trajectory.final, atol=0.02)


def test_capture_does_not_change_the_video(graph, low_res):
    unrecorded, trajectory = graph.low_res(capture_rows=0)
    assert trajectory.reach is None
    assert torch.equal(unrecorded["samples"], low_res[0]["samples"])


def test_order_one_without_windows_is_core_euler_to_the_bit(graph, triple):
    latent, sigmas, noise = triple
    assert torch.equal(graph.high_res(triple), core_euler(graph, noise, sigmas, latent))


def test_windows_of_the_whole_grid_equal_dense(graph, low_res, triple):
    windows = graph.windows(low_res[1], triple[0], s=1.0)
    for backend in ("auto", "torch_boxes"):
        windowed = graph.high_res(triple, windows=windows, backend=backend)
        assert torch.allclose(windowed, graph.high_res(triple), atol=1e-4)


def test_windows_change_the_result_and_visit_what_the_plan_says(graph, low_res, triple, monkeypatch):
    sampler = graph.modules.pack("nodes.host.attention.for_high_res")
    hooks = []
    make_hook = sampler.hook_for_windows
    monkeypatch.setattr(
        sampler, "hook_for_windows", lambda *given: hooks.append(make_hook(*given)) or hooks[-1]
    )
    windows = graph.windows(low_res[1], triple[0], s=0.5)
    windowed = graph.high_res(triple, windows=windows, backend="torch_boxes")
    dense = graph.high_res(triple)
    assert torch.isfinite(windowed).all()
    assert (windowed - dense).abs().max() > 1e-3

    visited = hooks[0].visited
    steps_run = [windows.step_at(float(sigma)) for sigma in triple[1][:-1]]
    expected = sum(windows.density_of_step(step) for step in steps_run) / len(steps_run)
    assert visited.density == pytest.approx(expected, abs=1e-6)
    assert visited.density <= 0.5 + 1e-6


def test_windows_answer_every_self_attention_and_no_other(graph, low_res, triple, monkeypatch):
    module = graph.modules.pack("nodes.host.attention.windows")
    real, calls = module.window_attention, []
    monkeypatch.setattr(
        module, "window_attention", lambda q, *rest, **named: calls.append(q.shape) or real(q, *rest, **named)
    )
    windows = graph.windows(low_res[1], triple[0], s=0.5)
    graph.high_res(triple, windows=windows)
    passes = {shape[0] for shape in calls}
    batch = passes.pop()
    assert not passes and batch in (1, 2)  # conditions run together or one by one
    forwards = (len(triple[1]) - 1) * (2 // batch)
    assert len(calls) == forwards * LAYERS
    assert {shape[2] for shape in calls} == {3 * 8 * 8}


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("derivative", ["low_res", "history", "blend"])
def test_higher_orders_stay_finite_and_differ_from_euler(graph, low_res, triple, order, derivative):
    result = graph.high_res(triple, trajectory=low_res[1], order=order, derivative=derivative)
    assert torch.isfinite(result).all()
    assert not torch.equal(result, graph.high_res(triple))


def test_history_needs_no_trajectory(graph, triple):
    assert torch.isfinite(graph.high_res(triple, order=2, derivative="history")).all()


def test_guidance_of_one_runs_the_positive_condition_alone(comfy_modules):
    graph = wan_graph(comfy_modules, guidance=1.0)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    assert torch.isfinite(graph.high_res(triple, windows=windows)).all()


def test_a_batch_of_two_videos_gives_what_single_runs_give(graph, low_res):
    latent, _ = graph.low_res(latent_image={"samples": torch.zeros(2, *LATENT[1:])})
    assert latent["samples"].shape[0] == 2
    assert torch.allclose(latent["samples"][:1], low_res[0]["samples"], atol=1e-4)


def model_calls(graph, monkeypatch):
    calls = []
    predict = type(graph.guider).predict_noise

    def counted(self, *given, **named):
        calls.append(1)
        return predict(self, *given, **named)

    monkeypatch.setattr(type(graph.guider), "predict_noise", counted)
    return calls


def test_skipping_a_third_saves_that_many_model_calls(comfy_modules, monkeypatch):
    graph = wan_graph(comfy_modules)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory, t_i=STEPS)
    full = graph.high_res(triple, trajectory=trajectory, order=2)
    calls = model_calls(graph, monkeypatch)
    skipped = graph.high_res(triple, trajectory=trajectory, order=2, skip_share=0.34)
    assert len(calls) == STEPS - 2
    assert torch.isfinite(skipped).all()
    assert 0 < (skipped - full).norm() / full.norm() < 0.2


def test_alignment_draws_the_coarse_picture_to_the_small_video(graph, low_res, triple):
    trajectory = low_res[1]
    resize = graph.modules.pack("s2flow_core.latent.resample").resize_latent
    small = trajectory.final

    def distance(latent):
        return (resize(latent, small.shape[-2:], "area") - small).norm()

    free = graph.high_res(triple, trajectory=trajectory)
    held = graph.high_res(triple, trajectory=trajectory, alignment=1.0)
    assert distance(held) < distance(free)


def test_skipping_and_alignment_need_the_steps_of_the_record(graph, low_res, triple):
    other = (triple[0], torch.tensor([0.7, 0.4, 0.0]), triple[2])
    for setting in ({"skip_share": 0.3}, {"alignment": 0.5}):
        with pytest.raises(ValueError, match="are not the last steps of the trajectory"):
            graph.high_res(other, trajectory=low_res[1], **setting)
        with pytest.raises(ValueError, match=f"{next(iter(setting))} is .* needs the trajectory"):
            graph.high_res(triple, **setting)
