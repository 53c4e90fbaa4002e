"""Models of picture and sound from end to end: the video is enlarged and windowed, the sound is held."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from cut_layers import counted_pieces
from plain_runs import core_euler
from tiny_audio_video import AudioVideo
from tiny_h3 import H3_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_variant import VariantGraph, variant_graph
from tiny_wan import SeededNoise
from torch import Tensor

VARIANTS = [*H3_VARIANTS, *LTX2_VARIANTS]


@dataclass
class Case:
    """One variant's graph and LR run, made once."""

    variant: AudioVideo
    graph: VariantGraph
    latent: dict[str, Any]
    trajectory: Any
    triple: Any
    log: list[str]

    def high_res(self, **inputs: Any) -> tuple[Tensor, Tensor]:
        """(video, sound) of an HR run."""
        video, sound = self.graph.high_res(self.triple, **inputs).unbind()
        return video, sound

    @property
    def sound(self) -> Tensor:
        return self.trajectory.beside[0]


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def case(request, comfy_modules, tmp_path_factory):
    variant = request.param
    variant.require_host()
    graph = variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))
    messages: list[str] = []
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        hook = comfy_modules.pack("nodes.host.attention.hook").SelfAttentionHook
        patch.setattr(hook, "fall_back", lambda self, reason: messages.append(reason))
        latent, trajectory = graph.low_res()
    return Case(variant, graph, latent, trajectory, graph.upsample(trajectory), messages)


def near(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


def test_the_small_run_is_cores_euler_to_the_bit(case):
    start = case.variant.latent(case.variant.channels, case.variant.size)
    expected = core_euler(case.graph, SeededNoise(3), case.graph.sigmas, start)
    made, plain = case.latent["samples"].unbind(), expected.unbind()
    assert all(torch.equal(one, other) for one, other in zip(made, plain, strict=True))
    assert torch.equal(case.trajectory.final, plain[0])
    assert torch.equal(case.sound, plain[1])


def test_it_is_recognised_and_every_layer_and_step_is_measured(case):
    variant, trajectory = case.variant, case.trajectory
    assert case.log == []
    model = trajectory.model
    assert (model.family, model.layers, model.heads) == (variant.family, variant.layers, variant.heads)
    assert (model.channels, model.latent_format) == (variant.channels, variant.latent_format)
    frames, *size = variant.size
    latent = (1, variant.channels, frames + variant.frames_behind, *size)
    assert tuple(trajectory.denoised.shape[1:]) == latent
    assert tuple(trajectory.reach.mass.shape[:3]) == (trajectory.steps, variant.layers, variant.heads)
    assert torch.allclose(trajectory.reach.mass[..., -1, -1, -1].float(), torch.ones(()), atol=1e-3)


def test_the_sound_keeps_its_size_and_is_held(case):
    latent, _, noise = case.triple
    video, sound = latent["samples"].unbind()
    frames, *size = case.variant.large
    assert tuple(video.shape[2:]) == (frames + case.variant.frames_behind, *size)
    assert torch.equal(sound, case.sound)
    of_video, of_sound = latent["noise_mask"].unbind()
    held = case.trajectory.held
    assert (of_video == 1).all() if held is None else torch.equal(of_video, held.mask_at(video.shape[-2:]))
    assert (of_sound == 0).all()
    white = noise.noise.unbind()[1]
    assert white.shape == sound.shape
    assert 0.8 < float(white.std()) < 1.2


@pytest.mark.parametrize("order", [1, 3])
def test_windows_answer_every_self_attention_of_the_video_and_no_other(case, monkeypatch, caplog, order):
    variant = case.variant
    hooks = case.graph.modules.pack("nodes.host.attention.windows").WindowedAttention
    attend, served = hooks.attend, Counter()

    def counted(self, call):
        out = attend(self, call)
        served[call.layer, call.layout.video, out is not None] += 1
        return out

    inputs = {"order": order} | ({"trajectory": case.trajectory} if order > 1 else {})
    dense = case.high_res(**inputs)
    windows = case.graph.windows(case.trajectory, case.triple[0], s=0.4)
    monkeypatch.setattr(hooks, "attend", counted)
    with caplog.at_level("INFO"):
        windowed = case.high_res(windows=windows, backend="torch_boxes", **inputs)
    steps, tokens = len(case.triple[1]) - 1, video_tokens(variant)
    assert served == {(layer, tokens, True): steps * variant.passes for layer in range(variant.layers)}
    assert not [record for record in caplog.records if "leaves attention unchanged" in record.message]
    assert not near(windowed[0], dense[0], 1e-3)
    assert near(windowed[1], case.sound)
    assert near(dense[1], case.sound)

    whole = case.graph.windows(case.trajectory, case.triple[0], s=1.0)
    assert near(case.high_res(windows=whole, backend="torch_boxes", **inputs)[0], dense[0])


def video_tokens(variant: AudioVideo) -> int:
    frames, height, width = (side // step for side, step in zip(variant.large, variant.patch, strict=True))
    return frames * height * width


def test_feed_forward_layers_of_the_video_run_in_pieces(case):
    model = case.graph.guider.model_patcher.model.diffusion_model
    family = case.graph.modules.pack("nodes.host.families").family_of(model)
    layers = [model.get_submodule(path) for path in family.feed_forward_paths(model)]
    assert len(layers) == case.variant.layers
    whole = case.high_res(feed_forward_chunks=1)
    with counted_pieces(layers) as pieces:
        cut = case.high_res(feed_forward_chunks=3)
    steps = len(case.triple[1]) - 1
    assert pieces.total() in (3 * len(layers) * steps, 6 * len(layers) * steps)
    assert all(near(*both) for both in zip(cut, whole, strict=True))


def test_saved_and_loaded_it_continues_with_its_sound(case, tmp_path):
    import folder_paths

    graph = case.graph
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
        graph.run("S2FlowSaveTrajectory", trajectory=case.trajectory, filename_prefix="t")
        latent, loaded = graph.run("S2FlowLoadTrajectory", file="output/t_00001.s2flow.safetensors")
    assert torch.equal(latent["samples"].unbind()[1], case.sound)
    triple = graph.upsample(loaded)
    video, sound = graph.high_res(triple, order=3, trajectory=loaded).unbind()
    expected = case.high_res(order=3, trajectory=case.trajectory)
    assert torch.equal(video, expected[0])
    assert near(sound, case.sound)


def test_without_the_mask_the_sound_is_sampled_again(case):
    latent, sigmas, noise = case.triple
    free = {"samples": latent["samples"]}
    if case.trajectory.held is not None:  # pictures stay held, which guides need
        free["noise_mask"] = latent["noise_mask"].unbind()[0]
    video, sound = case.graph.high_res((free, sigmas, noise), order=3, trajectory=case.trajectory).unbind()
    assert torch.isfinite(video).all()
    assert torch.isfinite(sound).all()
    assert not near(sound, case.sound, 1e-2)


def test_cores_sampler_can_take_over(case):
    import comfy.samplers

    latent, sigmas, noise = case.triple
    node = case.graph.modules.node("SamplerCustomAdvanced")
    euler = comfy.samplers.sampler_object("euler")
    output, _ = node.execute(noise, case.graph.large_guider, euler, sigmas, latent).args
    video, sound = output["samples"].unbind()
    ours = case.high_res()
    assert near(video, ours[0])
    assert near(sound, case.sound)


def test_a_skipped_step_and_alignment_leave_the_sound_alone(case):
    video, sound = case.high_res(order=3, trajectory=case.trajectory, skip_share=0.34, alignment=0.5)
    assert torch.isfinite(video).all()
    assert near(sound, case.sound)
