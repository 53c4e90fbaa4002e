"""Latents of picture and sound in the nodes around the two samplers, and what of them is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_h3 import H3_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_vae import loaded_vae
from tiny_variant import Variant, VariantGraph, variant_graph
from tiny_wan import LATENT, SeededNoise
from torch import Tensor

VARIANTS = {variant.name: variant for variant in (*H3_VARIANTS, *LTX2_VARIANTS)}
K = 2


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


def loaded(modules: Any, folder: Any, name: str) -> VariantGraph:
    variant = VARIANTS[name]
    variant.require_host()
    return variant_graph(modules, variant, variant.load(folder))


@pytest.fixture(scope="module", params=["h3_text", "ltx2_text"])
def graph(request, comfy_modules, tmp_path_factory):
    return loaded(comfy_modules, tmp_path_factory.mktemp("checkpoint"), request.param)


@pytest.fixture(scope="module")
def record(graph):
    """(latent, trajectory) of a whole run."""
    with torch.inference_mode():
        return graph.low_res()


def both(*streams: Tensor) -> Any:
    from comfy.nested_tensor import NestedTensor

    return NestedTensor(streams)


def empty(variant: Variant) -> dict[str, Any]:
    return variant.latent(variant.channels, variant.size)


def core(graph: Any, noise: Any, sigmas: Tensor, latent: dict[str, Any]) -> tuple[Any, Any]:
    """(output, denoised_output) of core's SamplerCustomAdvanced with Euler."""
    import comfy.samplers

    node = graph.modules.node("SamplerCustomAdvanced")
    euler = comfy.samplers.sampler_object("euler")
    return node.execute(noise, graph.guider, euler, sigmas, latent).args


def close(one: Any, other: Any) -> bool:
    pairs = zip(one.unbind(), other.unbind(), strict=True)
    return all((a - b).abs().max() <= 1e-4 * b.abs().max() for a, b in pairs)


def test_noise_reshift_at_the_same_size_goes_on_as_if_nothing_had_been(graph):
    unbroken, _ = core(graph, SeededNoise(3), graph.sigmas, empty(graph.variant))
    output, denoised = core(graph, SeededNoise(3), graph.sigmas[: K + 1], empty(graph.variant))
    latent, rest, noise = reshift(graph, output, denoised, scale=1.0)
    resumed, _ = core(graph, noise, rest, latent)
    assert close(resumed["samples"], unbroken["samples"])


def test_noise_reshift_shrinks_the_picture_alone(graph):
    output, denoised = core(graph, SeededNoise(3), graph.sigmas[: K + 1], empty(graph.variant))
    for mode in ("consistent", "fresh"):
        latent, rest, noise = reshift(graph, output, denoised, scale=0.5, noise_mode=mode)
        video, sound = latent["samples"].unbind()
        assert tuple(video.shape[-2:]) == tuple(side // 2 for side in graph.variant.size[1:])
        assert torch.equal(sound, denoised["samples"].unbind()[1])
        assert 0.7 < float(noise.noise.unbind()[1].std()) < 1.3
        small = graph.variant.guider(graph.guider.model_patcher, (graph.variant.size[0], *video.shape[-2:]))
        result = small.sample(
            noise.generate_noise(latent), latent["samples"], euler(), rest, disable_pbar=True, seed=0
        )
        assert all(torch.isfinite(stream).all() for stream in result.unbind())


def euler() -> Any:
    import comfy.samplers

    return comfy.samplers.sampler_object("euler")


def reshift(graph: Any, output: Any, denoised: Any, **changes: Any) -> Any:
    inputs = {
        "model": graph.guider.model_patcher,
        "latent": denoised,
        "sigmas": graph.sigmas,
        "k": K,
        "noise_mode": "consistent",
        "sigma_mode": "literal",
        "seed": 5,
        "noisy_latent": output,
    }
    return graph.run("S2FlowNoiseReshift", **inputs | changes)


def test_two_low_res_samplers_make_the_run_of_one(graph, record):
    latent, whole = record
    stopped, first = graph.low_res(sigmas=graph.sigmas[: K + 1])
    silent = graph.modules.node("DisableNoise").execute().args[0]
    inputs = {"latent_image": stopped, "trajectory": first, "noise": silent}
    final, joined = graph.low_res(sigmas=graph.sigmas[K:], **inputs)
    assert close(final["samples"], latent["samples"])
    assert joined.steps == whole.steps
    assert torch.equal(joined.beside[0], final["samples"].unbind()[1])


def test_a_sound_that_was_given_is_held_from_the_start(graph):
    variant = graph.variant
    video, sound = empty(variant)["samples"].unbind()
    given = torch.randn(sound.shape, generator=torch.Generator().manual_seed(8))
    mask = both(torch.ones_like(video[:, :1]), torch.zeros_like(given[:, :1]))
    _, trajectory = graph.low_res(latent_image={"samples": both(video, given), "noise_mask": mask})
    assert (trajectory.beside[0] - given).abs().max() <= 1e-5 * given.abs().max()
    start = {"samples": both(video, given), "noise_mask": mask}
    stopped, first = graph.low_res(sigmas=graph.sigmas[: K + 1], latent_image=start)
    with pytest.raises(ValueError, match="Run all sigmas in one Low-Res Sampler"):
        graph.low_res(sigmas=graph.sigmas[K:], latent_image=stopped, trajectory=first)


def test_the_refiner_holds_the_sound(graph, record):
    latent, _ = record
    inputs = {"guider": graph.large_guider, "latent": latent, "mode": "renoise", "steps": 3, "window": 0}
    result = graph.run("S2FlowRefinerSampler", **inputs)[0]["samples"]
    video, sound = result.unbind()
    before = latent["samples"].unbind()[1]
    assert tuple(video.shape[2:]) == graph.variant.large
    assert torch.isfinite(video).all()
    assert (sound - before).abs().max() <= 1e-5 * before.abs().max()


def test_one_video_is_picked_with_its_sound_and_its_masks(graph, record):
    _, trajectory = record
    shapes = [(3, *stream.shape[1:]) for stream in empty(graph.variant)["samples"].unbind()]
    video, sound = (torch.randn(shape) for shape in shapes)
    masks = both(torch.ones_like(video[:, :1]), torch.zeros_like(sound[:, :1]))
    latent = {"samples": both(video, sound), "noise_mask": masks}
    picked, _ = graph.run("S2FlowPickPreview", latent=latent, choice=2)
    assert all(
        torch.equal(one, many[1:2])
        for one, many in zip(picked["samples"].unbind(), (video, sound), strict=True)
    )
    of_video, of_sound = picked["noise_mask"].unbind()
    assert (of_video == 1).all()
    assert (of_sound == 0).all()
    _, chosen = graph.run("S2FlowPickPreview", latent=record[0], choice=1, trajectory=trajectory)
    assert torch.equal(chosen.beside[0], trajectory.beside[0])


def test_the_contact_sheet_shows_the_picture(comfy_modules, tmp_path):
    graph = loaded(comfy_modules, tmp_path, "ltx2_text")
    latent = empty(graph.variant)
    vae = loaded_vae("ltx")
    inputs = {"vae": vae, "columns": 2, "frame_height": 32}
    sheet = graph.run("S2FlowContactSheet", latent=latent, **inputs)[0]
    alone = graph.run("S2FlowContactSheet", latent={"samples": latent["samples"].unbind()[0]}, **inputs)[0]
    assert torch.equal(sheet, alone)


def test_a_model_of_video_alone_refuses_sound(comfy_modules):
    from tiny_wan import wan_graph

    latent = {"samples": both(torch.zeros(LATENT), torch.zeros(1, 8, 9, 16))}
    with pytest.raises(ValueError, match="holds sound beside the video, and wan makes video alone"):
        wan_graph(comfy_modules).low_res(latent_image=latent)


@pytest.fixture(scope="module")
def h3(comfy_modules, tmp_path_factory):
    return loaded(comfy_modules, tmp_path_factory.mktemp("checkpoint"), "h3_keyframes")


def test_h3_refuses_a_video_without_sound(h3):
    with pytest.raises(ValueError, match="holds a video alone, and minimax_h3 makes video and sound"):
        h3.low_res(latent_image={"samples": torch.ones(1, 24, *h3.variant.size)})


def test_h3_takes_any_empty_latent_as_core_does(h3):
    _, trajectory = h3.low_res(latent_image={"samples": torch.zeros(1, 16, 2, 8, 8)})
    assert tuple(trajectory.final.shape) == (1, 24, 2, 8, 8)
    assert len(trajectory.beside) == 1


@pytest.mark.parametrize(("frames", "lengths"), [(3, "5 or 22"), (4, "5 or 22"), (8, "22 or 39")])
def test_h3_refuses_lengths_off_its_grid(h3, frames, lengths):
    latent = {"samples": both(torch.zeros(1, 24, frames, 8, 8), torch.zeros(1, 32, 2, 8))}
    with pytest.raises(ValueError, match=f"{frames} latent frames.*17k.5 frames. Set length.* to {lengths}"):
        h3.low_res(latent_image=latent)


def test_h3_refuses_a_batch(h3):
    latent = {"samples": both(torch.zeros(2, 24, 2, 8, 8), torch.zeros(2, 32, 2, 8))}
    with pytest.raises(ValueError, match="holds 2 videos, and MiniMax H3 samples one at a time"):
        h3.low_res(latent_image=latent)


def test_h3_refuses_keyframes_of_another_size(h3):
    _, trajectory = h3.low_res(capture_rows=0)
    with pytest.raises(ValueError, match=r"the keyframes \(MiniMaxH3ImageToVideo.*128×128 pixels.*256×256"):
        h3.high_res(h3.upsample(trajectory), guider=h3.guider)


def test_ltx_refuses_guides_of_the_small_size(comfy_modules, tmp_path):
    graph = loaded(comfy_modules, tmp_path, "ltx2_weak_guides")
    _, trajectory = graph.low_res(capture_rows=0)
    with pytest.raises(ValueError, match=r"the keyframes \(LTXVAddGuide\) is for 128×128 pixels.*256×256"):
        graph.high_res(graph.upsample(trajectory), guider=graph.guider)


def test_ltx2_runs_without_sound_too(comfy_modules, tmp_path):
    graph = loaded(comfy_modules, tmp_path, "ltx2_text")
    latent, trajectory = graph.low_res(latent_image={"samples": torch.zeros(1, 128, 3, 4, 4)})
    assert not latent["samples"].is_nested
    assert trajectory.beside == ()
    triple = graph.upsample(trajectory)
    assert "noise_mask" not in triple[0]
    windows = graph.windows(trajectory, triple[0], s=0.5)
    assert torch.isfinite(graph.high_res(triple, windows=windows, backend="torch_boxes")).all()


def test_noise_of_another_sound_is_refused(graph, record):
    latent, sigmas, noise = graph.upsample(record[1])
    video, sound = latent["samples"].unbind()
    longer = {"samples": both(video, torch.cat([sound, sound], dim=-1))}
    with pytest.raises(ValueError, match="This noise was made for a latent of"):
        graph.high_res((longer, sigmas, noise))
