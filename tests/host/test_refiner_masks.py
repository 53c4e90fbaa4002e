"""The Refiner Sampler obeys the mask of its latent, in all its modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_wan import LATENT, wan_graph
from torch import Tensor

MODES = ("flow_map", "flashvideo", "renoise")


@pytest.fixture(scope="module")
def graph(comfy_modules):
    return wan_graph(comfy_modules)


@pytest.fixture(scope="module")
def small() -> Tensor:
    return torch.randn(LATENT, generator=torch.Generator().manual_seed(1))


def refined(graph: Any, latent: dict[str, Any], mode: str) -> Tensor:
    given = {"guider": graph.guider, "latent": latent, "mode": mode, "steps": 3, "shift": 1.0, "seed": 2}
    return graph.run("S2FlowRefinerSampler", **given)[0]["samples"]


def frame_mask(value: float) -> Tensor:
    """Of a LATENT: its first frame has this value."""
    mask = torch.ones(1, 1, *LATENT[2:])
    mask[:, :, 0] = value
    return mask


def large(graph: Any, small: Tensor) -> Tensor:
    return graph.modules.pack("s2flow_core.latent.resample").resize_latent(small, (16, 16))


@pytest.mark.parametrize("mode", MODES)
def test_what_is_held_is_the_enlarged_small_video(graph, small, mode):
    result = refined(graph, {"samples": small, "noise_mask": frame_mask(0.0)}, mode)
    torch.testing.assert_close(result[:, :, :1], large(graph, small)[:, :, :1], atol=1e-4, rtol=0)
    free = refined(graph, {"samples": small}, mode)
    assert (free - large(graph, small))[:, :, :1].norm() > 0.05 * free[:, :, :1].norm()
    assert (result - large(graph, small))[:, :, 1:].norm() > 0.05 * result[:, :, 1:].norm()


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_of_ones_changes_nothing(graph, small, mode):
    masked = refined(graph, {"samples": small, "noise_mask": frame_mask(1.0)}, mode)
    torch.testing.assert_close(masked, refined(graph, {"samples": small}, mode), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.2, 0.5, 0.8])
def test_a_soft_mask_lets_as_much_through(graph, monkeypatch, mode, value):
    """A model that answers 1 everywhere, and a small video of 0 in the model's space."""
    monkeypatch.setattr(type(graph.guider), "predict_noise", lambda self, x, *_, **__: torch.ones_like(x))
    space = graph.guider.model_patcher.model.latent_format
    nothing = space.process_out(torch.zeros(LATENT))
    result = space.process_in(refined(graph, {"samples": nothing, "noise_mask": frame_mask(value)}, mode))
    torch.testing.assert_close(result[:, :, :1], torch.full_like(result[:, :, :1], value), atol=1e-4, rtol=0)
    torch.testing.assert_close(result[:, :, 1:], torch.ones_like(result[:, :, 1:]), atol=1e-4, rtol=0)


def test_a_mask_in_pixels_is_read_as_core_reads_it(graph, small):
    """What SetLatentNoiseMask puts there: (1, 1, height, width), for all frames."""
    pixels = torch.ones(1, 1, 64, 64)
    pixels[..., :32] = 0
    result = refined(graph, {"samples": small, "noise_mask": pixels}, "flow_map")
    torch.testing.assert_close(result[..., :8], large(graph, small)[..., :8], atol=1e-4, rtol=0)
