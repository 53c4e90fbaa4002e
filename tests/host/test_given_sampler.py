"""The small run by core's samplers: their own video, and a record that the large run can use."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_wan import LATENT, STEPS, SeededNoise

ONE_CALL = ["euler", "res_multistep", "dpmpp_2m", "uni_pc", "ipndm", "deis", "lcm"]
SEED = 3


def sampler_of(name):
    import comfy.samplers

    return comfy.samplers.sampler_object(name)


def cores_run(graph, name):
    """What SamplerCustomAdvanced makes."""
    start = torch.zeros(LATENT)
    noise = SeededNoise(SEED).generate_noise({"samples": start})
    return graph.guider.sample(
        noise, start, sampler_of(name), graph.sigmas.clone(), disable_pbar=True, seed=SEED
    )


@pytest.mark.parametrize("name", ONE_CALL)
def test_the_video_is_the_samplers_own_and_every_step_is_recorded(graph, name):
    before = graph.sigmas.clone()
    latent, trajectory = graph.low_res(sampler=sampler_of(name), precision="full")
    assert torch.equal(graph.sigmas, before)
    # uni_pc writes 0.001 over the schedule's last sigma, and core, which still reads it, divides by 0.999.
    exact = 2e-3 * latent["samples"].abs().max() if name == "uni_pc" else 0
    torch.testing.assert_close(latent["samples"], cores_run(graph, name).detach(), atol=exact, rtol=0)
    assert trajectory.steps == STEPS
    assert torch.equal(trajectory.sigmas, graph.sigmas)
    assert trajectory.reach is not None
    assert trajectory.euler is (name == "euler")
    # The first state is pure noise, whatever the sampler.
    _, of_euler = graph.low_res(precision="full")
    torch.testing.assert_close(trajectory.noise[0], of_euler.noise[0])
    torch.testing.assert_close(trajectory.denoised[0], of_euler.denoised[0])


def test_euler_by_its_name_writes_the_same_record(graph):
    _, own = graph.low_res(precision="full")
    _, given = graph.low_res(sampler=sampler_of("euler"), precision="full")
    torch.testing.assert_close(given.denoised, own.denoised, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(given.noise, own.noise, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("t_i", [2, 4])
def test_the_large_run_goes_on_from_it(graph, no_fall_back, t_i):
    _, trajectory = graph.low_res(sampler=sampler_of("res_multistep"))
    triple = graph.upsample(trajectory, t_i=t_i)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    result = graph.high_res(triple, trajectory=trajectory, windows=windows, order=2, derivative="low_res")
    assert result.shape[-2:] == (2 * LATENT[-2], 2 * LATENT[-1])
    assert result.isfinite().all()


@pytest.mark.parametrize("name", ["heun", "dpm_2_ancestral_twice"])
def test_a_sampler_that_computes_steps_twice_is_refused(graph, name):
    if name == "heun":
        sampler = sampler_of("heun")
    else:
        import comfy.samplers

        def twice(model, x, sigmas, extra_args, callback=None, disable=None):
            ones = x.new_ones(len(x))
            for sigma in sigmas[:-1]:
                model(x, sigma * ones, **extra_args)
                x = model(x + 0.1, sigma * ones, **extra_args)
            return x

        sampler = comfy.samplers.KSAMPLER(twice)
    with pytest.raises(ValueError, match=r"computes a step twice.*res_multistep"):
        graph.low_res(sampler=sampler)


def test_a_sampler_that_leaves_steps_out_is_refused(graph):
    import comfy.samplers

    def once(model, x, sigmas, extra_args, callback=None, disable=None):
        return model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)

    with pytest.raises(ValueError, match=f"once left out step 2 of {STEPS}"):
        graph.low_res(sampler=comfy.samplers.KSAMPLER(once))


def test_what_cannot_be_recorded_or_kept_is_refused_first(graph):
    with pytest.raises(ValueError, match=r"cannot record SimpleNamespace"):
        graph.low_res(sampler=SimpleNamespace())
    with pytest.raises(ValueError, match=r"resume_every is 2.*disconnect sampler"):
        graph.low_res(sampler=sampler_of("res_multistep"), resume_every=2)


@pytest.mark.parametrize(("name", "said"), [("lcm", True), ("euler_ancestral", True), ("dpmpp_2m", False)])
def test_noise_at_every_step_is_told(graph, caplog, name, said):
    with caplog.at_level("WARNING"):
        graph.low_res(sampler=sampler_of(name), capture_rows=0)
    assert ("no single path" in caplog.text) is said


def test_a_sampler_that_leaves_a_step_out_is_stopped_there(graph):
    """Not after the whole run."""
    from stopped_model import Stopper

    def every_second(model, x, sigmas, extra_args, callback, disable):
        for sigma in sigmas[:-1:2]:
            x = model(x, sigma * x.new_ones([1]), **extra_args)
        return x

    import comfy.samplers

    with Stopper(graph) as counted:
        with pytest.raises(ValueError, match="left out step 2 of 6"):
            graph.low_res(sampler=comfy.samplers.KSAMPLER(every_second))
        assert counted.calls <= 2 + 2


@pytest.mark.parametrize("name", ["ddpm", "sa_solver", "euler_ancestral", "dpmpp_sde", "lcm"])
def test_a_sampler_that_draws_noise_is_warned_of(graph, caplog, name):
    require = graph.modules.pack("nodes.host.sampling.given_sampler").require_recordable
    with caplog.at_level("WARNING"):
        require(sampler_of(name), 0)
    assert f"{name} draws new noise" in caplog.text


def test_a_step_that_does_not_fit_is_tried_again(graph, monkeypatch):
    """As Euler's are."""
    model = graph.guider.model_patcher.model.diffusion_model
    whole, _ = graph.low_res(sampler=sampler_of("res_multistep"))
    calls = []

    def fail_once(*_):
        calls.append(None)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.register_forward_pre_hook(fail_once)
    try:
        again, trajectory = graph.low_res(sampler=sampler_of("res_multistep"))
    finally:
        hook.remove()
    assert torch.equal(again["samples"], whole["samples"]) and trajectory.steps == STEPS
