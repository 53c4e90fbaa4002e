"""A soft mask counts once: what it held of the small run it holds of the large one, from start to end."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
import torch
from tiny_h3 import H3_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import LATENT, SeededNoise, wan_graph
from torch import Tensor

VALUES = (0.2, 0.5, 0.8, 1.0)  # of the mask, in stripes of two cells from left to right
AUDIO_VIDEO = {variant.name: variant for variant in (*H3_VARIANTS, *LTX2_VARIANTS)}


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=["wan", "h3_text", "ltx2_text"])
def graph(request, comfy_modules, tmp_path_factory):
    if request.param == "wan":
        return wan_graph(comfy_modules)
    variant = AUDIO_VIDEO[request.param]
    variant.require_host()
    return variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture
def makes_ones(graph, monkeypatch):
    """A model whose answer is 1 everywhere in its space: what is held is 0 there, so values are shares."""
    monkeypatch.setattr(type(graph.guider), "predict_noise", lambda self, x, *_, **__: torch.ones_like(x))


def video_of(samples: Any) -> Tensor:
    return samples.unbind()[0] if getattr(samples, "is_nested", False) else samples


def model_space(graph: Any, video: Tensor) -> Tensor:
    return graph.guider.model_patcher.model.latent_format.process_in(video.float())


def zeros_under(graph: Any, mask_of: Any, large: bool = False) -> dict[str, Any]:
    """A LATENT that is 0 in the model's space, under a mask in stripes: its last two cells are free."""
    variant = getattr(graph, "variant", None)
    empty = {"samples": torch.zeros(LATENT)}
    if variant is not None:
        empty = variant.latent(variant.channels, variant.large if large else variant.size)
    streams = list(empty["samples"].unbind()) if variant is not None else [empty["samples"]]
    streams[0] = graph.guider.model_patcher.model.latent_format.process_out(torch.zeros_like(streams[0]))
    masks = [torch.ones_like(stream[:, :1]) for stream in streams]
    masks[0] = mask_of(masks[0])
    if variant is None:
        return {"samples": streams[0], "noise_mask": masks[0]}
    from comfy.nested_tensor import NestedTensor

    return {"samples": NestedTensor(tuple(streams)), "noise_mask": NestedTensor(tuple(masks))}


def stripes(mask: Tensor) -> Tensor:
    width = mask.shape[-1]
    columns = torch.tensor(VALUES).repeat_interleave(width // len(VALUES))
    return columns.expand(mask.shape).clone()


def by_stripe(video: Tensor) -> list[float]:
    """One value for each stripe, which must be the same all over it."""
    parts = video.chunk(len(VALUES), dim=-1)
    assert all(float(part.max() - part.min()) < 2e-3 for part in parts)
    return [float(part.float().mean()) for part in parts]


def start_of(graph: Any, triple: Any) -> Tensor:
    """The state (1-sigma)·latent + sigma·noise that a sampler begins with, of the video, in the model's
    space."""
    latent, sigmas, noise = triple
    drawn = video_of(noise.generate_noise(latent))
    return (1 - sigmas[0]) * model_space(graph, video_of(latent["samples"])) + sigmas[0] * drawn


@pytest.mark.parametrize(
    "settings", [{}, {"sigma_mode": "snr_matched"}, {"noise_mode": "fresh", "t_i": 5}], ids=str
)
def test_a_soft_mask_holds_as_much_at_the_start_and_at_the_end(graph, makes_ones, settings):
    small, trajectory = graph.low_res(latent_image=zeros_under(graph, stripes), capture_rows=0)
    assert by_stripe(model_space(graph, video_of(small["samples"]))) == pytest.approx(VALUES, abs=2e-3)
    triple = graph.upsample(trajectory, method="nearest", **settings)
    unmasked = graph.upsample(dataclasses.replace(trajectory, held=None), method="nearest", **settings)
    sigma = float(triple[1][0])
    held = model_space(graph, video_of(triple[0]["samples"]))
    assert by_stripe(held)[:3] == pytest.approx([0.0] * 3, abs=1e-5)  # the given latent, not the mixture
    torch.testing.assert_close(start_of(graph, triple), start_of(graph, unmasked), atol=1e-3, rtol=0)
    assert by_stripe(start_of(graph, triple) - sigma * video_of(unmasked[2].noise)) == pytest.approx(
        [(1 - sigma) * value for value in VALUES], abs=2e-3
    )
    large = model_space(graph, video_of(graph.high_res(triple, trajectory=trajectory)))
    assert by_stripe(large) == pytest.approx(VALUES, abs=2e-3)


@pytest.mark.parametrize(
    "settings", [{"t_i": 2}, {"t_i": 5}, {"t_i": 4, "sigma_mode": "snr_matched"}], ids=str
)
def test_differential_diffusion_lets_go_at_the_same_steps(graph, makes_ones, settings):
    apply = graph.modules.node("DifferentialDiffusion").execute
    guider, model = graph.guider, graph.guider.model_patcher
    differential = type(guider)(apply(model).args[0])
    differential.original_conds, differential.cfg = guider.original_conds, guider.cfg
    start = zeros_under(graph, stripes)
    _, trajectory = graph.low_res(guider=differential, latent_image=start, capture_rows=0)
    steps = settings["t_i"]
    small = [by_stripe(model_space(graph, step)) for step in trajectory.denoised[-steps:]]
    assert any(0 in [round(value) for value in step] for step in small)
    latent, sigmas, noise = graph.upsample(trajectory, method="nearest", **settings)
    assert by_stripe(model_space(graph, video_of(latent["samples"]))) == pytest.approx(small[0], abs=2e-3)
    estimates = estimates_of(differential, latent, sigmas, noise)
    assert len(estimates) == steps
    for estimate, expected in zip(estimates, small, strict=True):
        assert by_stripe(estimate) == pytest.approx(expected, abs=2e-3)


def estimates_of(guider: Any, latent: dict[str, Any], sigmas: Tensor, noise: Any) -> list[Tensor]:
    """The clean estimates of the video in a run of core's Euler, in the model's space."""
    import comfy.samplers

    shape = video_of(latent["samples"]).shape
    seen = []

    def euler(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_: Any) -> Tensor:
        for sigma, after in pairwise(sigmas):
            clean = model(x, sigma * x.new_ones(len(x)), **extra_args)
            seen.append(clean.flatten(1)[:, : shape[1:].numel()].reshape(shape).clone())
            x = x + (x - clean) / sigma * (after - sigma)
        return x

    guider.sample(
        noise.generate_noise(latent),
        latent["samples"],
        comfy.samplers.KSAMPLER(euler),
        sigmas,
        denoise_mask=latent["noise_mask"],
        disable_pbar=True,
        seed=0,
    )
    return seen


def test_a_hard_mask_changes_neither_noise_nor_estimate(graph):
    def first_frame(mask: Tensor) -> Tensor:
        mask[:, :, :1] = 0
        return mask

    _, trajectory = graph.low_res(latent_image=zeros_under(graph, first_frame), capture_rows=0)
    latent, _, noise = graph.upsample(trajectory)
    plain, _, as_drawn = graph.upsample(dataclasses.replace(trajectory, held=None))
    assert torch.equal(video_of(noise.noise), video_of(as_drawn.noise))
    mixed = (
        trajectory.held.mask * trajectory.denoised[-3].float()
        + (1 - trajectory.held.mask) * trajectory.held.latent
    )
    resize = graph.modules.pack("s2flow_core.latent.resample").resize_latent
    expected = resize(mixed, tuple(video_of(plain["samples"]).shape[-2:]))
    assert torch.equal(video_of(latent["samples"]), expected)


K = 2


def first_steps(graph: Any, start: dict[str, Any]) -> tuple[Any, Any]:
    """(output, denoised_output) of core's SamplerCustomAdvanced after K steps."""
    import comfy.samplers

    node = graph.modules.node("SamplerCustomAdvanced")
    euler = comfy.samplers.sampler_object("euler")
    return node.execute(SeededNoise(3), graph.guider, euler, graph.sigmas[: K + 1], start).args


def reshifted(graph: Any, output: Any, denoised: Any, **given: Any) -> Any:
    settings = {"k": K, "scale": 0.5, "noise_mode": "consistent", "sigma_mode": "snr_matched", "seed": 5}
    return graph.run(
        "S2FlowNoiseReshift",
        model=graph.guider.model_patcher,
        latent=denoised,
        noisy_latent=output,
        sigmas=graph.sigmas,
        **settings | given,
    )


@pytest.mark.parametrize("noise_mode", ["consistent", "fresh"])
def test_noise_reshift_holds_what_the_first_sampler_was_given(graph, makes_ones, caplog, noise_mode):
    start = zeros_under(graph, stripes, large=True)
    output, denoised = first_steps(graph, start)
    with caplog.at_level("WARNING"):
        latent, sigmas, noise = reshifted(graph, output, denoised, latent_image=start, noise_mode=noise_mode)
    assert "the mask holds partly" not in caplog.text
    held = by_stripe(model_space(graph, video_of(latent["samples"])))
    assert held[:3] == pytest.approx([0.0] * 3, abs=1e-4)
    estimates = estimates_of(graph.guider, latent, sigmas, noise)
    for estimate in estimates:
        assert by_stripe(estimate) == pytest.approx(VALUES, abs=2e-3)
    plain = {**denoised, "noise_mask": None}
    unmasked = reshifted(graph, output, plain, noise_mode=noise_mode)
    torch.testing.assert_close(
        start_of(graph, (latent, sigmas, noise)), start_of(graph, unmasked), atol=1e-3, rtol=0
    )


def test_noise_reshift_says_when_it_cannot_know_what_a_soft_mask_holds(graph, makes_ones, caplog):
    output, denoised = first_steps(graph, zeros_under(graph, stripes))
    with caplog.at_level("WARNING"):
        reshifted(graph, output, denoised)
    assert "the mask holds partly" in caplog.text
    other = {"samples": video_of(output["samples"])[:, :, :1]}
    with pytest.raises(
        ValueError, match=r"latent_image has the shape .* Connect what the sampler of the first"
    ):
        reshifted(graph, output, denoised, latent_image=other)
