"""An empty latent says for which VAE it was made; both samplers read it as core's own do."""

from __future__ import annotations

import inspect

import pytest
import torch
from present_host import lacks
from tiny_variant import variant_graph
from tiny_wan import SeededNoise
from tiny_wan_variants import WAN_VARIANTS

WAN22 = next(variant for variant in WAN_VARIANTS if variant.channels == 48)


@pytest.fixture(scope="module")
def graph(comfy_modules, tmp_path_factory):
    """A model whose cells are 16 pixels wide, as HunyuanVideo 1.5's are, and not 8."""
    import comfy.sample

    if "downscale_ratio_spacial" not in inspect.signature(comfy.sample.fix_empty_latent_channels).parameters:
        lacks("empty latents that say their size in pixels")
    return variant_graph(comfy_modules, WAN22, WAN22.load(tmp_path_factory.mktemp("model")))


def empty_hunyuan(graph, width: int, height: int):
    return graph.modules.node("EmptyHunyuanLatentVideo").execute(width, height, 9, 1).args[0]


def test_the_small_run_has_the_size_in_pixels_that_was_asked_for(graph):
    latent = empty_hunyuan(graph, 128, 64)
    assert latent["samples"].shape[-2:] == (8, 16)
    result, trajectory = graph.low_res(latent_image=latent)
    core = graph.modules.node("SamplerCustomAdvanced").execute(
        SeededNoise(3),
        graph.guider,
        graph.modules.node("KSamplerSelect").execute("euler").args[0],
        graph.sigmas,
        latent,
    )
    assert result["samples"].shape[-2:] == (4, 8)
    assert torch.equal(result["samples"], core.args[0]["samples"])
    assert result.keys() == core.args[0].keys()
    assert trajectory.latent_shape[-2:] == (4, 8)


def test_what_has_been_sampled_is_not_resized_again(graph):
    """HunyuanVideo's ratio must not cling to a result: an empty-looking one would change its size."""
    result, trajectory = graph.low_res(latent_image=empty_hunyuan(graph, 128, 64))
    assert not [name for name in result if name.startswith("downscale")]
    latent, sigmas, noise = graph.upsample(trajectory)
    latent = latent | {"downscale_ratio_spacial": 16}
    inputs = {"noise": noise, "sigmas": sigmas, "latent_image": latent, "order": 1, "rope": "none"}
    large = graph.run("S2FlowHighResSampler", guider=graph.large_guider, **inputs)[0]
    assert large["samples"].shape[-2:] == (8, 16)
    assert "downscale_ratio_spacial" not in large
