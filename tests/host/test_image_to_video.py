"""Image-to-video by a mask in the LATENT: what the small run held, the large run holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from test_families import VARIANTS
from tiny_ltx import held_first_frame
from tiny_vae import VAES, TinyVae, loaded_vae, start_picture
from tiny_variant import Variant, VariantGraph, variant_graph

# HunyuanImageToVideo "v2 (replace)", Wan22ImageToVideoLatent and LTXVImgToVideo.
NAMES = ("hunyuan_i2v_replace", "wan22_5b_i2v", "ltx_i2v")


@dataclass
class Case:
    variant: Variant
    vae: TinyVae
    graph: VariantGraph
    start: dict[str, Any]
    latent: dict[str, Any]
    trajectory: Any


@pytest.fixture(scope="module", params=NAMES)
def case(request, comfy_modules, tmp_path_factory):
    variant = next(variant for variant in VARIANTS if variant.name == request.param)
    vae = next(vae for vae in VAES if vae.latent_format == variant.latent_format)
    model = variant.load(tmp_path_factory.mktemp("checkpoint"))
    graph = variant_graph(comfy_modules, variant, model)
    latent, trajectory = graph.low_res()
    return Case(variant, vae, graph, variant.latent(variant.channels, variant.size), latent, trajectory)


def first(latent: torch.Tensor) -> torch.Tensor:
    return latent[:, :, :1]


def assert_close(result: torch.Tensor, expected: torch.Tensor, relative: float = 1e-4) -> None:
    assert (result - expected).abs().max() <= relative * expected.abs().max()


def test_the_small_run_holds_the_first_frame_and_records_it(case):
    given = case.start["samples"]
    assert first(given).abs().max() > 0.1
    assert_close(first(case.latent["samples"]), first(given))
    held = case.trajectory.held
    assert torch.equal(held.latent, given)
    frames, height, width = case.variant.size
    assert tuple(held.mask.shape) == (1, 1, frames, height, width)
    assert (held.mask[:, :, 0] == 0).all() and (held.mask[:, :, 1:] == 1).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"order": 1},
        {"order": 3, "derivative": "blend"},
        {"order": 2, "derivative": "low_res", "skip_share": 0.4},
        {"order": 1, "alignment": 1.0},
    ],
    ids=str,
)
def test_the_large_run_holds_it_too(case, settings):
    triple = case.graph.upsample(case.trajectory, t_i=5)
    windows = case.graph.windows(case.trajectory, triple[0], s=0.5)
    large = triple[0]["samples"]
    mask = triple[0]["noise_mask"]
    assert tuple(mask.shape) == (1, 1, *case.variant.large)
    assert (mask[:, :, 0] == 0).all() and (mask[:, :, 1:] == 1).all()
    result = case.graph.high_res(triple, trajectory=case.trajectory, windows=windows, **settings)
    assert_close(first(result), first(large))
    assert (result - large)[:, :, 1:].norm() > 0.05 * large[:, :, 1:].norm()


def test_it_is_what_cores_sampler_makes_of_the_same_latent(case):
    import comfy.samplers

    triple = case.graph.upsample(case.trajectory)
    latent, sigmas, noise = triple
    euler = comfy.samplers.sampler_object("euler")
    node = case.graph.modules.node("SamplerCustomAdvanced")
    expected = node.execute(noise, case.graph.large_guider, euler, sigmas, latent).args[0]
    assert_close(case.graph.high_res(triple), expected["samples"])


def test_noise_reshift_and_pick_preview_keep_the_mask(case):
    """From the larger size down to that of the small guider's conditions."""
    start = case.variant.latent(case.variant.channels, case.variant.large)
    model, sigmas = case.graph.guider.model_patcher, case.graph.sigmas
    given = {"k": 2, "scale": 0.5, "noise_mode": "fresh", "sigma_mode": "literal", "seed": 5}
    latent, rest, noise = case.graph.run(
        "S2FlowNoiseReshift", model=model, latent=start, sigmas=sigmas, **given
    )
    mask = latent["noise_mask"]
    assert tuple(mask.shape) == (1, 1, *case.variant.size)
    assert (mask[:, :, 0] == 0).all() and (mask[:, :, 1:] == 1).all()
    result, _ = case.graph.low_res(noise=noise, sigmas=rest, latent_image=latent)
    assert_close(first(result["samples"]), first(latent["samples"]))

    pair = {name: torch.cat([value] * 2) for name, value in latent.items()}
    pair["noise_mask"][1] = 1
    for choice, held in ((1, 0), (2, 1)):
        picked = case.graph.run("S2FlowPickPreview", latent=pair, choice=choice)[0]
        assert (picked["noise_mask"][:, :, 0] == held).all()


def test_through_the_vae_and_with_a_sharper_first_frame(case):
    """The recipe of the help page: cut the enlarged first frame off, put an encoded image in its place."""
    latent, sigmas, noise = case.graph.upsample(case.trajectory, vae=loaded_vae(case.vae.name))
    assert_close(first(case.graph.high_res((latent, sigmas, noise))), first(latent["samples"]))

    sharp = case.variant.latent(case.variant.channels, case.variant.large)
    run, node = case.graph.run, case.graph.modules.node
    (rest,) = node("LatentCut").execute(latent, dim="t", index=1, amount=1000).args
    (picture,) = node("LatentCut").execute(sharp, dim="t", index=0, amount=1).args
    (joined,) = node("LatentConcat").execute(rest, picture, dim="-t").args
    settings = {"trajectory": case.trajectory, "order": 3, "derivative": "blend", "alignment": 1.0}
    given = {"noise": noise, "guider": case.graph.large_guider, "sigmas": sigmas, "latent_image": joined}
    result = run("S2FlowHighResSampler", **given | settings)[0]["samples"]
    assert_close(first(result), first(sharp["samples"]))
    assert (first(result) - first(latent["samples"])).norm() > 0.05 * first(result).norm()


def test_a_latent_without_the_mask_is_reported(case, caplog):
    latent, *rest = case.graph.upsample(case.trajectory, t_i=1)
    with caplog.at_level("WARNING"):
        case.graph.high_res(({"samples": latent["samples"]}, *rest), trajectory=case.trajectory)
    assert "held a start image or keyframes, but latent_image has no mask" in caplog.text


def test_a_second_run_does_not_hold_noise(case):
    sigmas = case.graph.sigmas
    latent, trajectory = case.graph.low_res(sigmas=sigmas[:4], capture_rows=0)
    with pytest.raises(ValueError, match="Run all sigmas in one Low-Res Sampler"):
        case.graph.low_res(sigmas=sigmas[3:], latent_image=latent, trajectory=trajectory, capture_rows=0)


def test_saved_runs_keep_what_was_held(case, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    case.graph.modules.node("S2FlowSaveTrajectory").execute(case.trajectory, "run")
    latent, loaded = case.graph.run("S2FlowLoadTrajectory", file="output/run_00001.s2flow.safetensors")
    assert torch.equal(loaded.held.latent, case.trajectory.held.latent)
    assert torch.equal(loaded.held.mask, case.trajectory.held.mask)
    assert torch.equal(latent["noise_mask"], loaded.held.mask)


@pytest.fixture(scope="module")
def ltx(comfy_modules, tmp_path_factory):
    variant = next(variant for variant in VARIANTS if variant.name == "ltx_video")
    return variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))


def test_an_image_of_less_strength_draws_as_strongly_at_the_large_size(ltx):
    start = held_first_frame(128, ltx.variant.size, strength=0.75)
    _, trajectory = ltx.low_res(latent_image=start)
    latent, *_ = ltx.upsample(trajectory)
    assert (latent["noise_mask"][:, :, 0] == 0.25).all()
    given, estimate = first(start["samples"]), first(trajectory.denoised[3].float())
    assert (estimate - given).norm() > 0.05 * estimate.norm()
    resize = ltx.modules.pack("s2flow_core.latent.resample").resize_latent
    assert_close(first(latent["samples"]), resize(given, (8, 8)))  # what it is drawn to, not the mixture
    assert torch.isfinite(ltx.high_res((latent, *_))).all()


def test_keyframes_are_made_again_at_the_large_size(ltx):
    """LTXVAddGuide appends frames to the latent and puts their positions into the conditions.

    To crop, later versions count the keyframes' tokens in frames of the latent's size, so conditions of the
    small size will not do.
    """
    import comfy.samplers

    add, crop = (ltx.modules.node(name) for name in ("LTXVAddGuide", "LTXVCropGuides"))
    size, large_size = ltx.variant.size, ltx.variant.large
    texts = [[[ltx.variant.text(seed), ltx.variant.conditions(size)]] for seed in (11, 12)]

    def guided(latent: dict[str, Any], size: Any, texts: Any) -> tuple[Any, dict[str, Any], Any]:
        picture = start_picture(size, side=32)
        *texts, latent = add.execute(*texts, loaded_vae("ltx"), latent, picture, 0, 1.0).args
        guider = comfy.samplers.CFGGuider(ltx.guider.model_patcher)
        guider.set_conds(*texts)
        guider.set_cfg(3.0)
        return guider, latent, texts

    guider, latent, _ = guided({"samples": torch.zeros(1, 128, *size)}, size, texts)
    assert latent["samples"].shape[2] == size[0] + 1
    _, trajectory = ltx.low_res(guider=guider, latent_image=latent)
    enlarged, sigmas, noise = ltx.upsample(trajectory)
    _, _, at_large = guided({"samples": torch.zeros(1, 128, *large_size)}, large_size, texts)
    *texts, cropped = crop.execute(*at_large, enlarged).args
    assert cropped["samples"].shape[2] == size[0]
    large_guider, large, _ = guided(cropped, large_size, texts)
    assert (large["noise_mask"][:, :, -1] == 0).all()
    with pytest.raises(ValueError, match=r"the keyframes \(LTXVAddGuide\) is for 128×128 pixels"):
        ltx.high_res((large, sigmas, noise), guider=guider)
    windows = ltx.windows(trajectory, large, s=0.5)
    result = ltx.high_res((large, sigmas, noise), guider=large_guider, trajectory=trajectory, windows=windows)
    assert_close(result[:, :, -1], large["samples"][:, :, -1])
