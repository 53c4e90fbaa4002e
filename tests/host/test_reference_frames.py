"""References and guides that stand as frames in the latent do not leak into the video, in every node."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from demo.clips.psnr import psnr
from demo.clips.scenes import draw_scene, render
from demo.files import VAE_FILE

SIDE = 32
MOST_LOST = 0.3  # dB


@pytest.fixture(autouse=True, scope="module")
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def vae(comfy_modules):
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(VAE_FILE)))


@pytest.fixture(scope="module")
def recorded(graph):
    return graph.low_res(capture_rows=0)[1]


@pytest.fixture(scope="module")
def clip(vae) -> Tensor:
    """(1, 16, 3, 4, 4): a moving object as the small run leaves it."""
    return vae.encode(render(draw_scene(3), SIDE)[:9])


@pytest.fixture(scope="module")
def truth() -> Tensor:
    """The same at twice the size, (9, 64, 64, 3)."""
    return render(draw_scene(3), 2 * SIDE)[:9]


@pytest.fixture(scope="module")
def picture(vae):
    """One or two latent frames of another scene, as VACE and LTX put them into the latent."""

    def of(frames: int) -> Tensor:
        return vae.encode(render(draw_scene(8), SIDE)[: 4 * frames - 3])

    return of


PLACES = [(1, 0), (2, 0), (0, 1), (0, 2), (1, 1)]


def with_pictures(clip: Tensor, picture: Any, before: int, behind: int) -> Tensor:
    """The clip with a picture of so many latent frames before and behind it."""
    parts = [clip]
    parts = [picture(before), *parts] if before else parts
    return torch.cat([*parts, picture(behind)] if behind else parts, dim=2)


def trajectory_of(graph: Any, recorded: Any, latent: Tensor, behind: int) -> Any:
    """A run that ends in this latent; guides are known from the conditions, references are not."""
    extra = graph.modules.pack("s2flow_core.latent.extra_frames").ExtraFrames
    steps = recorded.steps
    noise = torch.randn(1, *latent.shape[1:], generator=torch.Generator().manual_seed(5))
    return dataclasses.replace(
        recorded,
        denoised=latent[None].expand(steps, *latent.shape),
        noise=noise[None].expand(steps, *latent.shape),
        final=latent,
        extra=extra(behind=(behind,) if behind else ()),
    )


@dataclass
class Scene:
    """A clip (1, 16, 3, 4, 4), pictures of another scene, and what Upsample makes of the clip alone."""

    clip: Tensor
    picture: Any
    alone: Tensor
    lost: Any


@pytest.fixture(scope="module")
def scene(clip, picture, alone, lost) -> Scene:
    return Scene(clip, picture, alone, lost)


@pytest.fixture(scope="module")
def alone(graph, recorded, vae, clip) -> Tensor:
    """The video through Upsample with nothing beside it."""
    return graph.upsample(trajectory_of(graph, recorded, clip, 0), vae=vae)[0]["samples"]


@pytest.fixture(scope="module")
def lost(vae, alone, truth):
    """dB that a video loses against the one that had nothing beside it, in its first five frames."""

    def quality(latent: Tensor) -> float:
        return psnr(vae.decode(latent)[0][:5], truth[:5])

    best = quality(alone)
    return lambda latent: best - quality(latent)


@pytest.mark.parametrize(("before", "behind"), PLACES)
def test_upsample_keeps_the_video_as_it_would_be_alone(graph, recorded, vae, scene, before, behind):
    latent = with_pictures(scene.clip, scene.picture, before, behind)
    whole = trajectory_of(graph, recorded, latent, behind)
    upsampled, _, noise = graph.upsample(whole, vae=vae, trim_latent=before or None)
    latent = upsampled["samples"]
    assert latent.shape[2] == before + 3 + behind
    assert noise.generate_noise(upsampled).shape == latent.shape
    video = latent[:, :, before : before + 3]
    assert scene.lost(video) < MOST_LOST
    assert torch.equal(video, scene.alone)


def test_a_reference_in_one_clip_with_the_video_would_be_seen(graph, recorded, vae, scene):
    """What the test above protects from: without trim_latent nothing tells that this is a picture."""
    whole = trajectory_of(graph, recorded, with_pictures(scene.clip, scene.picture, 1, 0), 0)
    leaking = graph.upsample(whole, vae=vae)[0]["samples"][:, :, 1:]
    assert scene.lost(leaking) > 2


@pytest.mark.parametrize(
    ("trim", "says"),
    [
        (-1, "trim_latent is -1; "),
        (3, "begins with 3 .* no video is left"),
        (99, "begins with 99 .* no video"),
    ],
)
def test_an_impossible_trim_is_named_before_the_vae_starts(graph, recorded, trim, says):
    class Unused:
        """Whatever is asked of it fails."""

    with pytest.raises(ValueError, match=says):
        graph.upsample(recorded, vae=Unused(), trim_latent=trim)


def test_a_trim_that_no_prompt_explains_is_said(graph, recorded, caplog):
    with caplog.at_level("INFO"):
        graph.upsample(recorded, trim_latent=1)
    assert (
        "trim_latent takes 1 frame(s) at the start of the latent for references, the prompts name 0"
        in caplog.text
    )
    caplog.clear()
    with caplog.at_level("INFO"):
        graph.upsample(recorded, trim_latent=0)
        graph.upsample(recorded)
    assert "trim_latent" not in caplog.text


@pytest.mark.parametrize(("before", "behind"), PLACES)
def test_noise_reshift_keeps_the_video_as_it_would_be_alone(graph, clip, picture, before, behind):
    """It resizes frame by frame, so nothing has to tell it which frames are no video."""

    def shrunk(latent: Tensor, begin: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(6)
        of_video = torch.randn(1, *clip.shape[1:], generator=generator)
        noise = torch.randn(1, *latent.shape[1:], generator=generator)
        noise[:, :, begin : begin + 3] = of_video
        sigma = float(graph.sigmas[2])
        space = graph.guider.model_patcher.model.latent_format
        state = space.process_out(space.process_in(latent) + sigma / (1 - sigma) * noise)
        given = {"k": 2, "scale": 0.5, "noise_mode": "consistent", "sigma_mode": "literal", "seed": 5}
        small, _, drawn = graph.run(
            "S2FlowNoiseReshift",
            model=graph.guider.model_patcher,
            latent={"samples": latent},
            noisy_latent={"samples": state},
            sigmas=graph.sigmas,
            **given,
        )
        return small["samples"][:, :, begin : begin + 3], drawn.noise[:, :, begin : begin + 3]

    video, noise = shrunk(with_pictures(clip, picture, before, behind), before)
    alone, noise_alone = shrunk(clip, 0)
    assert torch.equal(video, alone)
    torch.testing.assert_close(noise, noise_alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("before", "behind"), PLACES)
def test_the_refiner_starts_from_the_video_as_it_would_be_alone(
    graph, vae, scene, monkeypatch, before, behind
):
    started = []
    place = graph.modules.pack("nodes.refiner_sampler")
    extra = graph.modules.pack("s2flow_core.latent.extra_frames").ExtraFrames
    monkeypatch.setattr(place, "extra_frames", lambda *_: extra(behind=(behind,) if behind else ()))
    monkeypatch.setattr(
        type(graph.guider),
        "predict_noise",
        lambda self, x, *_, **__: started.append(x) or torch.zeros_like(x),
    )
    inputs = {"guider": graph.guider, "mode": "flow_map", "steps": 1, "vae": vae}
    latent = {"samples": with_pictures(scene.clip, scene.picture, before, behind)}
    graph.run("S2FlowRefinerSampler", latent=latent, trim_latent=before or None, **inputs)
    space = graph.guider.model_patcher.model.latent_format
    video = space.process_out(started[0])[:, :, before : before + 3]
    assert scene.lost(video) < MOST_LOST
    torch.testing.assert_close(video, scene.alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("before", "behind"), PLACES)
def test_the_contact_sheet_shows_the_video_alone(graph, recorded, vae, clip, picture, before, behind):
    latent = with_pictures(clip, picture, before, behind)
    trajectory = trajectory_of(graph, recorded, latent, behind)
    given = {"vae": vae, "columns": 3, "frame_height": 32}
    (sheet,) = graph.run(
        "S2FlowContactSheet",
        latent={"samples": latent},
        trajectory=trajectory,
        trim_latent=before or None,
        **given,
    )
    (alone,) = graph.run("S2FlowContactSheet", latent={"samples": clip}, **given)
    assert torch.equal(sheet, alone)


@pytest.mark.parametrize(("trim", "says"), [(-2, "trim_latent is -2"), (3, "no video is left")])
def test_other_nodes_name_an_impossible_trim_too(graph, vae, clip, trim, says):
    with pytest.raises(ValueError, match=says):
        graph.run(
            "S2FlowContactSheet",
            latent={"samples": clip},
            vae=vae,
            columns=1,
            frame_height=32,
            trim_latent=trim,
        )
    with pytest.raises(ValueError, match=says):
        graph.run(
            "S2FlowRefinerSampler",
            guider=graph.guider,
            latent={"samples": clip},
            mode="flow_map",
            trim_latent=trim,
        )


def test_a_contact_sheet_of_another_run_is_refused(graph, recorded, vae, clip, picture):
    with pytest.raises(ValueError, match=r"latent holds 4 latent frames and trajectory 3\. Connect both"):
        graph.run(
            "S2FlowContactSheet",
            latent={"samples": with_pictures(clip, picture, 1, 0)},
            vae=vae,
            columns=1,
            frame_height=32,
            trajectory=recorded,
        )


@pytest.mark.parametrize("node", ["S2FlowUpsample", "S2FlowRefinerSampler", "S2FlowContactSheet"])
def test_graphs_of_before_still_fit(comfy_modules, node):
    """trim_latent is optional and no widget: saved widget values keep their places."""
    optional = comfy_modules.node(node).INPUT_TYPES()["optional"]
    assert optional["trim_latent"][0] == "INT" and optional["trim_latent"][1]["forceInput"]
