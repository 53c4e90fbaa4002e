"""Two experts in one run, as in Wan 2.2 14B: the switch in both runs, and what must not reach across it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_wan import LATENT, SeededNoise, random_wan_weights, wan_graph
from tiny_wan_variants import wan_weights

BOUNDARY = 0.7  # between the second and the third of the tail's steps
T_I = 5


@pytest.fixture(scope="module")
def high_noise(comfy_modules):
    return wan_graph(comfy_modules)


@pytest.fixture(scope="module")
def low_noise(comfy_modules):
    """The same architecture with other weights."""
    import comfy.sd

    weights = random_wan_weights(comfy_modules.pack)
    other = {name: value.flip(0) if "ffn" in name else value for name, value in weights.items()}
    model = comfy.sd.load_diffusion_model_state_dict(other)
    return wan_graph(comfy_modules, model=comfy_modules.pack("demo.generate").with_shift(model, 3.0))


@pytest.fixture(scope="module")
def record(high_noise):
    _, trajectory = high_noise.low_res()
    triple = high_noise.upsample(trajectory, t_i=T_I)
    return trajectory, triple


def both(high_noise, low_noise, triple, **settings):
    given = {"guider_low_noise": low_noise.guider, "boundary": BOUNDARY}
    return high_noise.high_res(triple, **given | settings)


def core_two_expert_run(high_noise, low_noise, noise, sigmas, latent):
    """Two SamplerCustomAdvanced in a row with leftover noise, as ComfyUI's own Wan 2.2 graph has them."""
    import comfy.samplers

    above = int((sigmas[:-1] >= BOUNDARY).sum())
    assert 0 < above < len(sigmas) - 1
    core = high_noise.modules.node("SamplerCustomAdvanced")
    disabled = high_noise.modules.node("DisableNoise").execute().args[0]
    euler = comfy.samplers.sampler_object("euler")
    half = core.execute(noise, high_noise.guider, euler, sigmas[: above + 1], latent).args[0]
    return core.execute(disabled, low_noise.guider, euler, sigmas[above:], half).args[0]["samples"]


@pytest.fixture(scope="module")
def experts_record(high_noise, low_noise):
    """(latent, trajectory) of an LR run under both experts."""
    return high_noise.low_res(guider_low_noise=low_noise.guider, boundary=BOUNDARY)


def test_the_small_run_equals_cores_own_run_of_two_experts(high_noise, low_noise, experts_record):
    latent, trajectory = experts_record
    start = {"samples": torch.zeros(LATENT)}
    expected = core_two_expert_run(high_noise, low_noise, SeededNoise(3), high_noise.sigmas, start)
    assert torch.allclose(latent["samples"], expected, atol=1e-3)
    assert not torch.allclose(latent["samples"], high_noise.low_res()[0]["samples"], atol=1e-2)
    assert trajectory.steps == len(high_noise.sigmas) - 1
    assert trajectory.boundaries == (int((high_noise.sigmas[:-1] >= BOUNDARY).sum()),)


def test_each_part_of_the_record_is_of_its_own_expert(high_noise, low_noise, experts_record):
    _, trajectory = experts_record
    (above,) = trajectory.boundaries
    first, second = (graph.low_res()[1].reach.mass for graph in (high_noise, low_noise))
    mass = trajectory.reach.mass
    assert torch.equal(mass[:above], first[:above])
    assert not torch.allclose(mass[above:].float(), first[above:].float(), atol=1e-2)
    assert not torch.allclose(mass[:above].float(), second[:above].float(), atol=1e-2)


def test_two_samplers_in_a_row_make_the_same_record(high_noise, low_noise, experts_record):
    latent, trajectory = experts_record
    sigmas, (above,) = high_noise.sigmas, trajectory.boundaries
    half, earlier = high_noise.low_res(sigmas=sigmas[: above + 1])
    (disabled,) = high_noise.modules.node("DisableNoise").execute().args
    rest, joined = low_noise.low_res(
        sigmas=sigmas[above:], latent_image=half, trajectory=earlier, noise=disabled
    )
    assert torch.allclose(rest["samples"], latent["samples"], atol=1e-3)
    assert joined.boundaries == trajectory.boundaries
    assert torch.allclose(joined.reach.mass.float(), trajectory.reach.mass.float(), atol=1e-2)
    assert torch.allclose(joined.denoised.float(), trajectory.denoised.float(), atol=1e-2)


def test_both_runs_under_both_experts(high_noise, low_noise, experts_record, monkeypatch):
    """LR, upsample, windows, HR: each step's windows are those of its own expert's part of the record."""
    _, trajectory = experts_record
    triple = high_noise.upsample(trajectory, t_i=T_I)
    windows = high_noise.windows(trajectory, triple[0], s=0.5)
    hook = high_noise.modules.pack("nodes.host.attention.windows")
    steps, attend = [], hook.window_attention
    real = hook.WindowedAttention.attend
    monkeypatch.setattr(
        hook.WindowedAttention,
        "attend",
        lambda self, call: steps.append((self.model, call.sigma, call.layer)) or real(self, call),
    )
    used = []
    monkeypatch.setattr(
        hook,
        "window_attention",
        lambda q, k, v, tokens, windows, **rest: (
            used.append(windows.extents) or attend(q, k, v, tokens, windows, **rest)
        ),
    )
    settings = {"trajectory": trajectory, "windows": windows, "order": 3, "derivative": "blend"}
    result = both(high_noise, low_noise, triple, backend="torch_boxes", **settings)
    assert torch.isfinite(result).all()

    (above,) = trajectory.boundaries
    models = [graph.guider.model_patcher.model.diffusion_model for graph in (high_noise, low_noise)]
    assert len(used) == len(steps)
    for (model, sigma, layer), extents in zip(steps, used, strict=True):
        step = int((trajectory.sigmas[:-1] - sigma).abs().argmin())
        assert model is models[step >= above]
        assert torch.equal(torch.as_tensor(extents), torch.as_tensor(windows.extents_at(step, layer)))
    assert {step[0] for step in steps} == set(models)


def test_a_small_run_of_two_experts_reports_one_progress(high_noise, low_noise, monkeypatch):
    import latent_preview

    reported = []
    monkeypatch.setattr(
        latent_preview,
        "prepare_callback",
        lambda *_, **__: lambda step, denoised, x, total: reported.append((step, total)),
    )
    high_noise.low_res(guider_low_noise=low_noise.guider, boundary=BOUNDARY, capture_rows=0)
    steps = len(high_noise.sigmas) - 1
    assert reported == [(step, steps) for step in range(steps)]


def test_experts_of_two_architectures_are_refused(high_noise, comfy_modules):
    import comfy.sd

    deeper = comfy.sd.load_diffusion_model_state_dict(wan_weights(num_layers=3))
    other = wan_graph(comfy_modules, model=deeper)
    with pytest.raises(ValueError, match=r"wan \(2 layers.* guider_low_noise wan \(3 layers"):
        high_noise.low_res(guider_low_noise=other.guider)


def test_a_masked_start_frame_is_held_under_both_experts(high_noise, low_noise):
    start = torch.randn(LATENT, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(1, 1, *LATENT[2:])
    mask[:, :, 0] = 0
    latent, trajectory = high_noise.low_res(
        latent_image={"samples": start, "noise_mask": mask},
        guider_low_noise=low_noise.guider,
        boundary=BOUNDARY,
    )
    assert torch.allclose(latent["samples"][:, :, 0], start[:, :, 0], atol=1e-4)
    assert torch.equal(trajectory.held.latent, start)
    triple = high_noise.upsample(trajectory, t_i=T_I)
    result = both(high_noise, low_noise, triple, trajectory=trajectory)
    assert torch.allclose(result[:, :, 0], triple[0]["samples"][:, :, 0], atol=1e-3)


def test_one_model_in_both_places_is_one_run(high_noise, record):
    alone = high_noise.high_res(record[1])
    assert torch.equal(both(high_noise, high_noise, record[1]), alone)


def test_euler_equals_two_core_samplers_in_a_row(high_noise, low_noise, record):
    """Core hands leftover noise on as a LATENT: the same up to what that costs in digits."""
    latent, sigmas, noise = record[1]
    expected = core_two_expert_run(high_noise, low_noise, noise, sigmas, latent)
    result = both(high_noise, low_noise, record[1])
    assert torch.allclose(result, expected, atol=1e-3)
    assert not torch.allclose(result, high_noise.high_res(record[1]), atol=1e-2)


@pytest.mark.parametrize("derivative", ["low_res", "history", "blend"])
@pytest.mark.parametrize("sigma_mode", ["literal", "snr_matched"])
def test_no_difference_reaches_across_the_boundary(
    high_noise, low_noise, record, monkeypatch, derivative, sigma_mode
):
    trajectory = record[0]
    triple = high_noise.upsample(trajectory, t_i=T_I, sigma_mode=sigma_mode)
    solver = high_noise.modules.pack("s2flow_core.solver.flow_solver")
    field = high_noise.modules.pack("s2flow_core.solver.low_res_field")
    matched = high_noise.modules.pack("s2flow_core.latent.flow").snr_matched_sigma
    scale = 2.0 if sigma_mode == "snr_matched" else 1.0
    switched_record = float(matched(torch.tensor(BOUNDARY), scale))
    views, nodes = [], []
    real = field.LowResField.derivatives
    monkeypatch.setattr(
        field.LowResField,
        "derivatives",
        lambda self, points, sigma: nodes.append(list(points)) or real(self, points, sigma),
    )
    step_view = solver.StepView
    monkeypatch.setattr(solver, "StepView", lambda **given: views.append(given) or step_view(**given))
    settings = {"trajectory": trajectory, "order": 3, "derivative": derivative}
    result = both(high_noise, low_noise, triple, **settings)
    assert torch.isfinite(result).all()

    assert len(views) == T_I
    for view in views:
        sides = {node.sigma >= BOUNDARY for node in (view["here"], *view["past"])}
        assert len(sides) == 1
    assert nodes or derivative != "low_res"
    for points in nodes:
        assert len({point >= switched_record for point in points}) == 1


def test_skipping_starts_anew_with_each_expert(high_noise, low_noise, record):
    trajectory = record[0]
    triple = high_noise.upsample(trajectory, t_i=trajectory.steps)
    result = both(high_noise, low_noise, triple, trajectory=trajectory, skip_share=0.4)
    assert torch.isfinite(result).all()


def test_windows_are_applied_under_both_experts(high_noise, low_noise, record, monkeypatch):
    hook = high_noise.modules.pack("nodes.host.attention.windows").WindowedAttention
    attend, seen = hook.attend, []
    monkeypatch.setattr(
        hook, "attend", lambda self, call: seen.append((self.model, call.sigma)) or attend(self, call)
    )
    windows = high_noise.windows(record[0], record[1][0], s=0.5)
    assert torch.isfinite(both(high_noise, low_noise, record[1], windows=windows)).all()
    models = {
        above: {model for model, sigma in seen if (sigma >= BOUNDARY) == above} for above in (True, False)
    }
    assert models[True] == {high_noise.guider.model_patcher.model.diffusion_model}
    assert models[False] == {low_noise.guider.model_patcher.model.diffusion_model}


def test_a_boundary_outside_the_steps_runs_one_expert_alone(high_noise, low_noise, record):
    only_high = both(high_noise, low_noise, record[1], boundary=0.0)
    assert torch.equal(only_high, high_noise.high_res(record[1]))
    only_low = both(high_noise, low_noise, record[1], boundary=1.0)
    assert torch.equal(only_low, low_noise.high_res(record[1]))


def test_progress_counts_the_whole_run(high_noise, low_noise, record, monkeypatch):
    import latent_preview

    reported = []
    monkeypatch.setattr(
        latent_preview,
        "prepare_callback",
        lambda *_, **__: lambda step, denoised, x, total: reported.append((step, total)),
    )
    both(high_noise, low_noise, record[1])
    assert reported == [(step, T_I) for step in range(T_I)]


def test_an_expert_of_another_architecture_is_refused(high_noise, low_noise, record, monkeypatch):
    trajectory = record[0]
    other = dataclasses.replace(trajectory.model, heads=40)
    sampler = high_noise.modules.pack("nodes.high_res_sampler")
    real = sampler.identity_of
    second = low_noise.guider.model_patcher
    monkeypatch.setattr(sampler, "identity_of", lambda given: other if given is second else real(given))
    with pytest.raises(ValueError, match="number of attention heads is 2, the connected model has 40"):
        both(high_noise, low_noise, record[1], trajectory=trajectory)


def test_the_solver_node_knows_the_boundary_of_the_record(high_noise, record, monkeypatch):
    at_high_res = high_noise.modules.pack("nodes.host.sampling.record_at_high_res")
    made = []
    real = at_high_res.LowResField
    monkeypatch.setattr(at_high_res, "LowResField", lambda *given: made.append(given[4]) or real(*given))
    settings = {"order": 2, "derivative": "low_res", "trajectory": record[0], "boundary": BOUNDARY}
    (sampler,) = high_noise.run("S2FlowSolver", **settings)
    latent, sigmas, noise = record[1]
    node = high_noise.modules.node("SamplerCustomAdvanced")
    node.execute(noise, high_noise.guider, sampler, sigmas, latent)
    assert made == [[pytest.approx(BOUNDARY, abs=3e-5)]]
