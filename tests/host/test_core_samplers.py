"""Our parts under core's own samplers: Apply Windows and Solver give what the High-Res Sampler gives."""

from __future__ import annotations

import pytest
import torch
from tiny_wan import wan_graph


def sample_custom(graph, triple, guider, sampler):
    """Core's SamplerCustomAdvanced."""
    latent, sigmas, noise = triple
    node = graph.modules.node("SamplerCustomAdvanced")
    return node.execute(noise, guider, sampler, sigmas, latent).args[0]["samples"]


def guider_of(graph, model):
    return wan_graph(graph.modules, model=model).guider


def test_apply_windows_under_core_euler_equals_the_high_res_sampler(graph, record):
    import comfy.samplers

    _, triple, windows = record
    (model,) = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=windows)
    euler = comfy.samplers.sampler_object("euler")
    result = sample_custom(graph, triple, guider_of(graph, model), euler)
    assert torch.equal(result, graph.high_res(triple, windows=windows))
    assert "optimized_attention_override" not in graph.guider.model_patcher.model_options.get(
        "transformer_options", {}
    )


def test_apply_windows_works_under_a_sampler_that_is_not_ours(graph, record):
    import comfy.samplers

    _, triple, windows = record
    (model,) = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=windows)
    result = sample_custom(graph, triple, guider_of(graph, model), comfy.samplers.sampler_object("dpmpp_2m"))
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("derivative", ["low_res", "history", "blend"])
def test_solver_under_core_equals_the_high_res_sampler(graph, record, derivative):
    trajectory, triple, _ = record
    (sampler,) = graph.run("S2FlowSolver", order=2, derivative=derivative, trajectory=trajectory)
    result = sample_custom(graph, triple, graph.guider, sampler)
    expected = graph.high_res(triple, trajectory=trajectory, order=2, derivative=derivative)
    assert torch.equal(result, expected)


def test_solver_finds_the_record_behind_matched_sigmas(graph, record):
    """With snr_matched sigmas the record is read at the LR sigmas they stand for."""
    trajectory = record[0]
    triple = graph.upsample(trajectory, sigma_mode="snr_matched")
    recorded_scale = graph.modules.pack("s2flow_core.transition.upsample").recorded_scale
    assert recorded_scale(triple[1], trajectory.sigmas, 2.0) == 2.0
    assert recorded_scale(record[1][1], trajectory.sigmas, 2.0) == 1.0
    result = graph.high_res(triple, trajectory=trajectory, order=2, derivative="low_res")
    assert torch.isfinite(result).all()


def test_solver_without_a_record_says_what_to_connect(graph):
    with pytest.raises(ValueError, match="needs the trajectory of the Low-Res Sampler"):
        graph.run("S2FlowSolver", order=2, derivative="low_res")


def test_core_takes_over_after_the_transition(graph, record):
    """The triple is ordinary: any core sampler can go on from it."""
    import comfy.samplers

    result = sample_custom(graph, record[1], graph.guider, comfy.samplers.sampler_object("uni_pc"))
    assert torch.isfinite(result).all()
