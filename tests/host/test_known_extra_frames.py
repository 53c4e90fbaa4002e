"""What conditions tell of references and guides in the latent: those that core's own nodes make."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_families import VARIANTS
from tiny_vae import loaded_vae, start_picture
from tiny_variant import variant_graph

SIZE = (3, 8, 8)
PIXELS = {"width": 64, "height": 64, "length": 9, "batch_size": 1}


@pytest.fixture(autouse=True, scope="module")
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def graph_of(comfy_modules, tmp_path_factory):
    """The graph of a variant by its name."""
    folder = tmp_path_factory.mktemp("checkpoint")

    def of(name: str) -> Any:
        variant = next(variant for variant in VARIANTS if variant.name == name)
        return variant_graph(comfy_modules, variant, variant.load(folder))

    return of


def known(graph: Any, texts: list[Any], latent: dict[str, Any]) -> Any:
    """The extra frames of a latent by the conditions of a CFGGuider."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(graph.guider.model_patcher)
    guider.set_conds(*texts)
    return graph.modules.pack("nodes.host.model.extra_frames").extra_frames(guider, latent["samples"])


def texts_of(graph: Any) -> list[Any]:
    return [[[graph.variant.text(seed), graph.variant.conditions(graph.variant.size)]] for seed in (11, 12)]


def plain_texts(graph: Any) -> list[Any]:
    return [[[graph.variant.text(seed), {}]] for seed in (11, 12)]


@pytest.mark.parametrize(
    "pictures",
    [
        {},
        {"reference_image": 1},
        {"control_video": 9},
        {"control_video": 9, "reference_image": 1},
        {"control_video": 5, "control_masks": 0.0, "reference_image": 1},
        {"control_masks": 0.0},
    ],
    ids=str,
)
def test_a_vace_reference_is_known(graph_of, pictures):
    graph = graph_of("wan21_vace")
    generator = torch.Generator().manual_seed(2)
    given = {
        name: torch.full((9, 64, 64), value)
        if name == "control_masks"
        else torch.rand(value, 64, 64, 3, generator=generator)
        for name, value in pictures.items()
    }
    node = graph.modules.node("WanVaceToVideo")
    texts = plain_texts(graph)
    *texts, latent, trim = node.execute(*texts, loaded_vae("wan21"), **PIXELS, strength=1.0, **given).args
    extra = known(graph, texts, latent)
    assert extra.first == trim == (1 if "reference_image" in pictures else 0)
    assert extra.behind == ()


def test_two_control_videos_share_their_reference(graph_of):
    graph = graph_of("wan21_vace")
    node = graph.modules.node("WanVaceToVideo")
    texts, latent = plain_texts(graph), {}
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    for _ in range(2):
        *texts, latent, _ = node.execute(
            *texts, loaded_vae("wan21"), **PIXELS, strength=1.0, reference_image=picture
        ).args
    assert known(graph, texts, latent).before == (1,)


@pytest.mark.parametrize("pictures", [(), ("pose_video",), ("pose_video", "continue_motion")], ids=str)
def test_the_character_of_wan_animate_is_known(graph_of, pictures):
    graph = graph_of("wan22_animate")
    node = graph.modules.node("WanAnimateToVideo")
    generator = torch.Generator().manual_seed(4)
    given = {name: torch.rand(9, 64, 64, 3, generator=generator) for name in pictures}
    given["reference_image"] = torch.rand(1, 64, 64, 3, generator=generator)
    *texts, latent, trim, _, _ = node.execute(
        *plain_texts(graph),
        loaded_vae("wan21"),
        **PIXELS,
        continue_motion_max_frames=5,
        video_frame_offset=0,
        **given,
    ).args
    extra = known(graph, texts, latent)
    assert extra.before == (trim,) == (1,)


@pytest.mark.parametrize("places", [(0,), (8,), (0, 8), (8, 0), (4, 9)], ids=str)
def test_ltx_guides_are_known_one_by_one(graph_of, places):
    graph = graph_of("ltx_video")
    add = graph.modules.node("LTXVAddGuide")
    texts, latent = texts_of(graph), {"samples": torch.zeros(1, 128, 3, 4, 4)}
    for place in places:
        picture = start_picture((3, 4, 4), side=32)
        *texts, latent = add.execute(*texts, loaded_vae("ltx"), latent, picture, place, 1.0).args
    extra = known(graph, texts, latent)
    assert extra.behind == (1,) * len(places)
    assert extra.before == ()
    assert extra.video(latent["samples"]).shape[2] == 3


def test_a_guide_of_several_frames_is_one_clip(graph_of):
    graph = graph_of("ltx_video")
    add = graph.modules.node("LTXVAddGuide")
    clip = start_picture((3, 4, 4), side=32).expand(9, -1, -1, -1)
    *texts, latent = add.execute(
        *texts_of(graph), loaded_vae("ltx"), {"samples": torch.zeros(1, 128, 3, 4, 4)}, clip, 0, 1.0
    ).args
    assert known(graph, texts, latent).behind == (2,)


@pytest.mark.parametrize(
    "name", ["wan21_t2v", "wan21_i2v", "wan21_phantom", "wan21_fun_control", "ltx_video"]
)
def test_models_that_add_their_pictures_themselves_have_none_in_the_latent(graph_of, name):
    graph = graph_of(name)
    latent = graph.variant.latent(graph.variant.channels, graph.variant.size)
    assert not known(graph, texts_of(graph), latent)


@pytest.mark.parametrize("reference", [False, True])
def test_previews_while_it_runs_show_the_video(graph_of, monkeypatch, reference):
    """Core's previewers show the first frame that they are given."""
    import latent_preview

    graph = graph_of("wan21_vace")
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(7))
    given = {"reference_image": picture} if reference else {}
    node = graph.modules.node("WanVaceToVideo")
    *texts, latent, trim = node.execute(
        *plain_texts(graph), loaded_vae("wan21"), **PIXELS, strength=1.0, **given
    ).args
    guider = type(graph.guider)(graph.guider.model_patcher)
    guider.set_conds(*texts)
    shown = []
    monkeypatch.setattr(
        latent_preview, "prepare_callback", lambda *_: lambda step, clean, x, steps: shown.append(clean)
    )
    _, trajectory = graph.low_res(guider=guider, latent_image=latent, capture_rows=0)
    assert trajectory.extra.first == trim == int(reference)
    space = graph.guider.model_patcher.model.latent_format
    for clean, recorded in zip(shown, trajectory.denoised, strict=True):
        torch.testing.assert_close(space.process_out(clean), recorded[:, :, trim:].float(), atol=1e-2, rtol=0)
