"""Core's context windows over LTX-Video and LTX-2: guides that some slices see, and sound beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from plain_runs import core_euler, noise_that_is_sampled
from present_host import lacks
from tiny_ltx import LTX_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_variant import Variant, VariantGraph, variant_graph
from tiny_wan import STEPS, SeededNoise
from torch import Tensor

FRAMES, CONTEXT = 6, 3  # latent frames of the video, and of a slice
# Cut every two frames; the last slice begins early enough to be whole.
SLICES = {(0, 1, 2), (2, 3, 4), (3, 4, 5)}
# Guides stand at the first and the last frame, so the slice in the middle sees none. Core cuts those of
# LTX-2 alone.
NAMES = ("ltx_video", "ltx2_text", "ltx2_guides", "ltx2_weak_guides")
VARIANTS = {one.name: one for one in (*LTX_VARIANTS, *LTX2_VARIANTS)}
SMALL = (FRAMES, 4, 4)


@dataclass
class Case:
    """One variant's graph behind context windows, with its LR run, made once."""

    variant: Variant
    graph: VariantGraph
    latent: dict[str, Any]
    trajectory: Any
    triple: Any
    seen: Counter  # (layer, frames) of every call that was recorded
    log: list[str]

    def windows(self, s: float) -> Any:
        return self.graph.windows(self.trajectory, self.triple[0], s=s)

    def high_res(self, **inputs: Any) -> Tensor:
        """The video of an HR run; held sound must have stayed as it was."""
        video, *beside = streams(self.graph.high_res(self.triple, **inputs))
        for held, finished in zip(beside, self.trajectory.beside, strict=True):
            assert near(held, finished)
        return video


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=NAMES)
def case(request, comfy_modules, tmp_path_factory):
    variant = replace(VARIANTS[request.param], size=SMALL)
    variant.require_host()
    with torch.inference_mode():
        model = sliced(comfy_modules, variant.load(tmp_path_factory.mktemp("checkpoint")), variant)
        graph = variant_graph(comfy_modules, variant, model)
        with pytest.MonkeyPatch.context() as patch:
            seen, log = noted(comfy_modules, patch)
            latent, trajectory = graph.low_res()
        return Case(variant, graph, latent, trajectory, graph.upsample(trajectory), seen, log)


def sliced(modules: Any, model: Any, variant: Variant) -> Any:
    """The model behind core's node for LTX, or in earlier versions the one for any model."""
    given = {
        "context_length": 8 * (CONTEXT - 1) + 1,
        "context_overlap": 8,
        "context_schedule": "standard_static",
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
    }
    node = modules.nodes.NODE_CLASS_MAPPINGS.get("LTXVContextWindows")
    if node is not None:
        return node.execute(model, **given, freenoise=True).args[0]
    if variant.frames_behind:
        lacks("context windows that know guides")
    node = modules.node("ContextWindowsManual")
    return node.execute(model, **given | {"context_length": CONTEXT, "context_overlap": 1, "dim": 2}).args[0]


def noted(modules: Any, patch: pytest.MonkeyPatch) -> tuple[Counter, list[str]]:
    """Filled with every recorded call, and with every reason to leave one alone."""
    capture = modules.pack("nodes.host.attention.capture").AttentionCapture
    record, seen, log = capture.record, Counter(), []

    def noting(self: Any, call: Any, rows: Any) -> None:
        seen[call.layer, call.frames] += 1
        record(self, call, rows)

    patch.setattr(capture, "record", noting)
    patch.setattr(capture, "fall_back", lambda self, reason: log.append(reason))
    return seen, log


def streams(samples: Any) -> list[Tensor]:
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


def near(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


def test_the_small_run_is_cores_euler_to_the_bit(case):
    start = case.variant.latent(case.variant.channels, case.variant.size)
    expected = core_euler(case.graph, SeededNoise(3), case.graph.sigmas, start)
    pairs = zip(streams(case.latent["samples"]), streams(expected), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_every_slice_is_recorded_in_every_layer_and_step(case):
    assert case.log == []
    layers = range(case.variant.layers)
    assert case.seen == {(layer, frames): STEPS for layer in layers for frames in SLICES}
    assert case.trajectory.reach.shape == (CONTEXT, *SMALL[1:])
    assert case.trajectory.token_shape == (FRAMES + case.variant.frames_behind, *SMALL[1:])


def test_windows_answer_every_slice_at_the_density_asked(case, monkeypatch, caplog):
    hook = case.graph.modules.pack("nodes.host.attention.windows").WindowedAttention
    attend, answered = hook.attend, Counter()

    def counted(self: Any, call: Any) -> Any:
        out = attend(self, call)
        answered[call.layer, call.frames, out is not None] += 1
        return out

    dense = case.high_res()
    windows = case.windows(s=0.5)
    monkeypatch.setattr(hook, "attend", counted)
    with caplog.at_level("INFO"):
        windowed = case.high_res(windows=windows, backend="torch_boxes")
    steps = len(case.triple[1]) - 1
    calls = {(layer, frames, True) for layer in range(case.variant.layers) for frames in SLICES}
    assert answered == dict.fromkeys(calls, steps)
    said = [record.getMessage() for record in caplog.records if "S²Flow" in record.getMessage()]
    assert not [text for text in said if "unchanged" in text or "reached" in text]
    (density,) = [record.args[0] for record in caplog.records if "achieved" in str(record.msg)]
    assert density == pytest.approx(windows.density, abs=0.01)
    assert not near(windowed, dense, 1e-3)


@pytest.mark.parametrize("order", [1, 3])
def test_windows_of_everything_give_what_there_was_without(case, order):
    inputs = {"order": order, "trajectory": case.trajectory}
    dense = case.high_res(**inputs)
    whole = case.high_res(windows=case.windows(s=1.0), backend="torch_boxes", **inputs)
    assert near(whole, dense)


def test_the_large_runs_noise_keeps_the_coarse_part_in_every_frame(case, monkeypatch):
    """With FreeNoise where the node has it, which shuffled the small run's noise."""
    noise = noise_that_is_sampled(case.high_res, monkeypatch)
    ready = streams(case.triple[2].noise)[0]
    video = noise.flatten()[: ready.numel()].view(ready.shape)
    assert torch.equal(video, ready)
    # Recorded is the noise of the state, after FreeNoise.
    small = case.trajectory.noise[3].float()
    coarse = torch.nn.functional.avg_pool3d(video, (1, 2, 2))
    for frame in range(FRAMES):
        both = torch.stack([coarse[:, :, frame].flatten(), small[:, :, frame].flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95
