"""The Refiner Sampler in a real ComfyUI: its modes against core's sampler, windows, and wrong input."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tiny_wan import LATENT, wan_graph

FLASHVIDEO_SIGMAS = [1.0, 0.909, 0.789, 0.625, 0.385, 0.0]


@pytest.fixture(scope="module")
def graph(comfy_modules):
    return wan_graph(comfy_modules, guidance=6.0)


@pytest.fixture(scope="module")
def small():
    return torch.randn(LATENT, generator=torch.Generator().manual_seed(1))


def refine(graph, small, mode="flow_map", **inputs):
    given = {"guider": graph.guider, "latent": {"samples": small}, "mode": mode, "steps": 3, "shift": 1.0}
    return graph.run("S2FlowRefinerSampler", **given | inputs)[0]["samples"]


def enlarged(graph, small):
    return graph.modules.pack("s2flow_core.latent.resample").resize_latent(small, (16, 16), "bicubic")


def in_model_space(graph, latent):
    return graph.guider.model_patcher.model.process_latent_in(latent)


def euler_from(graph, state, sigmas):
    """Core's Euler from any state at sigma 1, given as its noise."""
    import comfy.samplers

    euler = comfy.samplers.sampler_object("euler")
    return graph.guider.sample(state, torch.zeros_like(state), euler, sigmas, disable_pbar=True, seed=0)


class SeenStates:
    """Records what the model is asked, through its published wrapper."""

    def __init__(self, graph, monkeypatch):
        self.sigmas, self.states = [], []
        predict = type(graph.guider).predict_noise

        def seen(guider, x, timestep, *args, **kwargs):
            self.sigmas.append(float(timestep.flatten()[0]))
            self.states.append(x.clone())
            return predict(guider, x, timestep, *args, **kwargs)

        monkeypatch.setattr(type(graph.guider), "predict_noise", seen)


def test_flow_map_is_core_euler_from_the_enlarged_small_video(graph, small):
    expected = euler_from(graph, in_model_space(graph, enlarged(graph, small)), torch.linspace(1, 0, 4))
    torch.testing.assert_close(refine(graph, small), expected, atol=1e-5, rtol=0)


def test_flow_map_runs_10_steps_of_shift_1_from_the_small_video_by_default(graph, small, monkeypatch):
    seen = SeenStates(graph, monkeypatch)
    refine(graph, small, steps=0, shift=0.0)
    assert seen.sigmas == pytest.approx([1 - step / 10 for step in range(10)])
    start = in_model_space(graph, enlarged(graph, small))
    torch.testing.assert_close(seen.states[0], start, atol=1e-5, rtol=0)


def test_flashvideo_runs_the_published_sigmas_from_a_degraded_start(graph, small, monkeypatch):
    seen = SeenStates(graph, monkeypatch)
    refine(graph, small, "flashvideo", steps=0, shift=0.0, seed=4)
    assert [round(sigma, 3) for sigma in [*seen.sigmas, 0.0]] == FLASHVIDEO_SIGMAS
    start = in_model_space(graph, enlarged(graph, small))
    noise = graph.modules.pack("s2flow_core.latent.noise").white_noise(tuple(start.shape), 4)
    signal = graph.modules.pack("s2flow_core.transition.flow_map").reference_signal(675)
    expected = signal * start + (1 - signal**2) ** 0.5 * noise
    torch.testing.assert_close(seen.states[0], expected, atol=1e-5, rtol=0)
    assert signal == pytest.approx(0.264, abs=1e-3)


@pytest.mark.parametrize("mode", ["flow_map", "flashvideo", "renoise"])
def test_the_start_is_made_where_the_latent_lies(graph, mode):
    """Under --gpu-only that is not the CPU; the meta device stands for it, and refuses to be mixed."""
    start = graph.modules.pack("nodes.host.sampling.refiner_start").RefinerStart(mode, 675, 0)
    large = torch.zeros(LATENT, device="meta")
    clean, noise = start.parts(large, graph.guider.model_patcher.model.process_latent_in)
    assert clean.device.type == noise.device.type == "meta"


def test_renoise_starts_at_its_strength(graph, small, monkeypatch):
    seen = SeenStates(graph, monkeypatch)
    first = refine(graph, small, "renoise", strength=0.3, seed=1)
    assert seen.sigmas[0] == pytest.approx(0.3)
    assert all(later < sigma for sigma, later in pairwise(seen.sigmas))
    assert not torch.equal(first, refine(graph, small, "renoise", strength=0.3, seed=2))


def test_sigmas_take_the_place_of_steps_and_shift(graph, small, monkeypatch):
    seen = SeenStates(graph, monkeypatch)
    refine(graph, small, sigmas=torch.tensor([1.0, 0.5, 0.0]))
    assert seen.sigmas == [1.0, 0.5]


def test_sizes_that_are_no_double(graph, small):
    assert refine(graph, small, scale=1.5).shape[-2:] == (12, 12)
    assert refine(graph, small, width=112, height=96).shape[-2:] == (12, 14)


def test_a_window_over_all_frames_changes_nothing_and_a_short_one_does(graph, small):
    whole = refine(graph, small)
    assert torch.equal(refine(graph, small, window=LATENT[2]), whole)
    windowed = refine(graph, small, window=2)
    assert torch.isfinite(windowed).all()
    assert not torch.equal(windowed, whole)
    options = graph.guider.model_options.get("transformer_options", {})
    assert "optimized_attention_override" not in options


def test_a_batch_gives_every_video_its_own_refinement(graph, small):
    other = small.flip(-1)
    both = refine(graph, torch.cat([small, other]))
    torch.testing.assert_close(both[:1], refine(graph, small), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(both[1:], refine(graph, other), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"window": 1}, "1 latent frame"),
        ({"sigmas": torch.tensor([0.8, 0.4, 0.0])}, "flow_map starts at the small video itself"),
        ({"mode": "renoise", "strength": 0.0}, "strength is 0"),
        ({"mode": "flashvideo", "reference_step": 1000}, "reference step is 1000"),
        ({"width": 100, "height": 96}, "nearest valid size is 96×96"),
        ({"scale": 0.5}, "scale is 0.5"),
    ],
)
def test_wrong_input_is_named_before_anything_runs(graph, small, monkeypatch, inputs, words):
    seen = SeenStates(graph, monkeypatch)
    with pytest.raises(ValueError, match=words):
        refine(graph, small, **inputs)
    assert seen.sigmas == []


def test_a_latent_of_another_vae_is_named(graph):
    with pytest.raises(ValueError, match="latent has 48 channels, but this Refiner works on 16"):
        refine(graph, torch.zeros(1, 48, 3, 8, 8))
