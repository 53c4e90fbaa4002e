"""Noise Reshift and continued trajectories between core's samplers and ours, in a real ComfyUI."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_wan import LATENT, STEPS, SeededNoise, wan_graph

K = 2


@pytest.fixture(scope="module")
def other_guidance(graph):
    """The same model under another CFG, as after k in the paper."""
    return dataclasses.replace(
        graph, guider=wan_graph(graph.modules, guidance=1.5, model=graph.guider.model_patcher).guider
    )


def sampled(graph, noise, sigmas, samples):
    """(output, denoised_output) of core's SamplerCustomAdvanced with Euler."""
    import comfy.samplers

    sampler = comfy.samplers.sampler_object("euler")
    node = graph.modules.node("SamplerCustomAdvanced")
    return node.execute(noise, graph.guider, sampler, sigmas, {"samples": samples}).args


@pytest.fixture(scope="module")
def stopped(graph):
    """The first K steps under core's sampler."""
    return sampled(graph, SeededNoise(3), graph.sigmas[: K + 1], torch.zeros(LATENT))


@pytest.fixture(scope="module")
def unbroken(graph):
    return sampled(graph, SeededNoise(3), graph.sigmas, torch.zeros(LATENT))[0]["samples"]


def no_noise(graph):
    return graph.modules.node("DisableNoise").execute().args[0]


def reshift(graph, stopped, **changes):
    output, denoised = stopped
    inputs = {
        "model": graph.guider.model_patcher,
        "latent": denoised,
        "sigmas": graph.sigmas,
        "k": K,
        "scale": 1.0,
        "noise_mode": "consistent",
        "sigma_mode": "literal",
        "seed": 5,
        "noisy_latent": output,
    }
    return graph.run("S2FlowNoiseReshift", **inputs | changes)


def test_scale_1_resumed_by_core_is_the_unbroken_run(graph, stopped, unbroken):
    latent, rest, noise = reshift(graph, stopped)
    resumed = sampled(graph, noise, rest, latent["samples"])[0]["samples"]
    torch.testing.assert_close(resumed, unbroken, atol=1e-5, rtol=0)


def test_scale_1_resumed_by_the_low_res_sampler_is_the_unbroken_run(graph, stopped, unbroken):
    latent, rest, noise = reshift(graph, stopped)
    resumed, trajectory = graph.low_res(latent_image=latent, sigmas=rest, noise=noise)
    torch.testing.assert_close(resumed["samples"], unbroken, atol=1e-5, rtol=0)
    assert trajectory.steps == STEPS - K


@pytest.mark.parametrize("noise_mode", ["fresh", "consistent"])
@pytest.mark.parametrize("sigma_mode", ["literal", "snr_matched"])
def test_bowtie_runs_from_large_to_small_to_large(graph, other_guidance, stopped, noise_mode, sigma_mode):
    triple = reshift(graph, stopped, scale=0.5, noise_mode=noise_mode, sigma_mode=sigma_mode)
    latent, rest, noise = triple
    assert latent["samples"].shape[-2:] == (4, 4)
    preview, trajectory = other_guidance.low_res(latent_image=latent, sigmas=rest, noise=noise)
    assert torch.isfinite(preview["samples"]).all()
    assert torch.allclose(trajectory.sigmas, rest)
    large = other_guidance.high_res(other_guidance.upsample(trajectory, t_i=2), trajectory=trajectory)
    assert large.shape == LATENT
    assert torch.isfinite(large).all()


def test_two_low_res_samplers_make_the_record_of_one(graph):
    whole, expected = graph.low_res()
    half, first = graph.low_res(sigmas=graph.sigmas[: K + 1])
    rest = {"sigmas": graph.sigmas[K:], "latent_image": half, "noise": no_noise(graph)}
    result, joined = graph.low_res(**rest, trajectory=first)
    torch.testing.assert_close(result["samples"], whole["samples"], atol=1e-5, rtol=0)
    assert (joined.steps, joined.boundaries) == (STEPS, (K,))
    torch.testing.assert_close(joined.denoised, expected.denoised, atol=2e-3, rtol=0)
    torch.testing.assert_close(joined.noise, expected.noise, atol=2e-3, rtol=0)
    torch.testing.assert_close(joined.reach.mass, expected.reach.mass, atol=2e-3, rtol=0)
    triple = graph.upsample(joined)
    windows = graph.windows(joined, triple[0], s=0.5)
    assert torch.isfinite(graph.high_res(triple, trajectory=joined, windows=windows, order=2)).all()


def test_a_second_guidance_continues_the_first(graph, other_guidance):
    half, first = graph.low_res(sigmas=graph.sigmas[: K + 1])
    rest = {"sigmas": graph.sigmas[K:], "latent_image": half, "noise": no_noise(graph), "trajectory": first}
    result, joined = other_guidance.low_res(**rest)
    assert joined.finished
    core = sampled(other_guidance, no_noise(graph), graph.sigmas[K:], half["samples"])[0]["samples"]
    assert torch.equal(result["samples"], core)


def test_only_the_state_that_a_trajectory_stopped_at_continues_it(graph, stopped, tmp_path):
    half, first = graph.low_res(sigmas=graph.sigmas[: K + 1])
    rest = {"sigmas": graph.sigmas[K:], "latent_image": half, "noise": no_noise(graph), "trajectory": first}
    other, _ = graph.low_res(sigmas=graph.sigmas[: K + 1], noise=SeededNoise(4))
    for foreign in (other, {"samples": torch.zeros(LATENT)}):
        with pytest.raises(ValueError, match=r"latent_image is not the video .* Connect the latent output"):
            graph.low_res(**rest | {"latent_image": foreign})
    with pytest.raises(ValueError, match="Connect DisableNoise to noise"):
        graph.low_res(**rest | {"noise": SeededNoise(3)})
    latent, _, noise = reshift(graph, stopped)
    with pytest.raises(ValueError, match="After S²Flow Noise Reshift a new run begins"):
        graph.low_res(**rest | {"latent_image": latent, "noise": noise})
    files = graph.modules.pack("s2flow_core.trajectory.files")
    files.save_trajectory(first, tmp_path / "first.safetensors")
    rest["trajectory"] = files.load_trajectory(tmp_path / "first.safetensors")
    rest["latent_image"] = {"samples": half["samples"].half()}
    assert graph.low_res(**rest)[1].finished


def test_an_unfinished_trajectory_is_not_upsampled(graph):
    _, first = graph.low_res(sigmas=graph.sigmas[: K + 1])
    with pytest.raises(ValueError, match="Continue it to 0 first"):
        graph.upsample(first, t_i=1)


def test_both_parts_must_record_attention_or_neither(graph):
    half, first = graph.low_res(sigmas=graph.sigmas[: K + 1])
    rest = {"sigmas": graph.sigmas[K:], "latent_image": half, "noise": no_noise(graph), "trajectory": first}
    with pytest.raises(ValueError, match="capture_rows is 0, but the earlier trajectory holds attention"):
        graph.low_res(**rest, capture_rows=0)
    with pytest.raises(ValueError, match="capture_error is False here and was True"):
        graph.low_res(**rest, capture_error=False)
    with pytest.raises(ValueError, match="these sigmas start at"):
        graph.low_res(**rest | {"sigmas": graph.sigmas[K + 1 :]})


@pytest.mark.parametrize("k", [0, STEPS, 99])
def test_k_outside_the_schedule(graph, stopped, k):
    with pytest.raises(ValueError, match=f"k is {k}, but this schedule has {STEPS} steps"):
        reshift(graph, stopped, k=k)


def test_a_size_that_the_patches_do_not_divide_names_the_nearest(graph, stopped):
    with pytest.raises(ValueError, match=r"64×64 would become 40×40.*nearest valid size is 32×32"):
        reshift(graph, stopped, width=40, height=40)
    with pytest.raises(ValueError, match="both width and height"):
        reshift(graph, stopped, width=32)


def test_consistent_noise_needs_the_noisy_latent(graph, stopped):
    with pytest.raises(ValueError, match="Connect that sampler's output to noisy_latent"):
        reshift(graph, stopped, noisy_latent=None)
    with pytest.raises(ValueError, match="output and denoised_output of the same sampler"):
        reshift(graph, stopped, noisy_latent={"samples": torch.zeros(1, 16, 3, 4, 4)})
