"""Core's context windows cut the video in time: attention is measured and windowed within each slice."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from plain_runs import noise_that_is_sampled
from present_host import lacks
from tiny_wan import LAYERS, STEPS, SeededNoise, wan_graph

FRAMES, CONTEXT = 5, 3  # latent frames of the video, and of a slice
SLICES = 2  # of three frames with one in common


def sliced(graph: Any, node_id: str = "WanContextWindowsManual", **changes: Any) -> Any:
    """The graph's model behind core's context-window node."""
    pixels = 4 * (CONTEXT - 1) + 1
    given = {
        "context_length": pixels,
        "context_overlap": 1,
        "context_schedule": "standard_static",
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
    }
    node = graph.modules.node(node_id)
    if "freenoise" in inspect.signature(node.execute).parameters:
        given["freenoise"] = False
    model = node.execute(graph.guider.model_patcher, **given | changes).args[0]
    return wan_graph(graph.modules, model=model)


def low_res(graph: Any, frames: int = FRAMES, **inputs: Any) -> Any:
    empty = {"samples": torch.zeros(1, 16, frames, 8, 8)}
    return graph.low_res(latent_image=empty, noise=SeededNoise(3), **inputs)


@pytest.fixture(scope="module")
def plain(comfy_modules):
    return wan_graph(comfy_modules)


@pytest.fixture(scope="module")
def graph(plain):
    return sliced(plain)


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = low_res(graph)
    triple = graph.upsample(trajectory)
    return trajectory, triple, graph.windows(trajectory, triple[0], s=0.5)


def test_capture_measures_the_slices(graph, record, caplog):
    """The mean over both slices of the first step, against a record of each by itself."""
    capture = graph.modules.pack("nodes.host.attention.capture").AttentionCapture
    real, singles = capture.record, []

    def alone(self: Any, call: Any, rows: Any) -> None:
        kept = {kind: record[-1] for kind, record in self.records.items()}, self.slices
        self.slices = {}
        for record in self.records.values():
            record[-1] = {}
        real(self, call, rows)
        singles.append((call.layer, call.frames, self.records["mass"][-1][call.layer].float()))
        last, self.slices = kept
        for kind, record in self.records.items():
            record[-1] = last[kind]
        real(self, call, rows)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level("WARNING"):
        patch.setattr(capture, "record", alone)
        _, trajectory = low_res(graph)
    assert not [r for r in caplog.records if "S²Flow" in r.getMessage()]
    assert len(singles) == STEPS * LAYERS * SLICES
    assert {frames for _, frames, _ in singles} == {(0, 1, 2), (2, 3, 4)}
    assert trajectory.reach.shape == (CONTEXT, 4, 4)
    assert trajectory.token_shape == (FRAMES, 4, 4)
    first = singles[: LAYERS * SLICES]
    for layer in range(LAYERS):
        expected = torch.stack([mass for number, _, mass in first if number == layer]).mean(0)
        assert torch.allclose(trajectory.reach.mass[0, layer].float(), expected, atol=2e-3)


def test_windows_answer_every_slice(graph, record, monkeypatch, caplog):
    trajectory, triple, windows = record
    assert windows.grid.shape == (CONTEXT, 8, 8)
    hook = graph.modules.pack("nodes.host.attention.windows").WindowedAttention
    attend, answered = hook.attend, []

    def counted(self: Any, call: Any) -> Any:
        out = attend(self, call)
        if out is not None:
            answered.append((call.layer, call.frames))
        return out

    monkeypatch.setattr(hook, "attend", counted)
    dense = graph.high_res(triple)
    with caplog.at_level("WARNING"):
        windowed = graph.high_res(triple, windows=windows, backend="torch_boxes")
    assert not [r for r in caplog.records if "S²Flow" in r.getMessage()]
    steps = len(triple[1]) - 1
    per_call = len(answered) // (steps * LAYERS * SLICES)
    assert per_call in (1, 2)  # conditions together or apart
    assert len(answered) == steps * LAYERS * SLICES * per_call
    assert {frames for _, frames in answered} == {(0, 1, 2), (2, 3, 4)}
    assert not torch.allclose(windowed, dense, atol=1e-3)
    whole = graph.windows(trajectory, triple[0], s=1.0)
    assert torch.allclose(graph.high_res(triple, windows=whole, backend="torch_boxes"), dense, atol=1e-4)


@pytest.mark.parametrize("s", [0.3, 0.5, 0.8])
def test_the_density_is_as_asked(graph, record, caplog, s):
    """Frames that core lends to a slice are no part of it."""
    trajectory, triple, _ = record
    windows = graph.windows(trajectory, triple[0], s=s)
    with caplog.at_level("INFO"):
        graph.high_res(triple, windows=windows, backend="torch_boxes")
    (density,) = [r.args[0] for r in caplog.records if "density" in r.getMessage() and "achieved" in r.msg]
    assert density == pytest.approx(windows.density, abs=0.01)
    assert density <= s + 0.01


@pytest.fixture(scope="module")
def shuffled(plain):
    """The model under FreeNoise, which puts noise of earlier frames into later ones."""
    node = plain.modules.node("WanContextWindowsManual")
    if "freenoise" not in inspect.signature(node.execute).parameters:
        lacks("FreeNoise in its context windows")
    return sliced(plain, freenoise=True)


def agreement(noise: torch.Tensor, low: torch.Tensor) -> list[float]:
    """Per frame, the correlation of the noise's block means with the noise of the small run."""
    coarse = torch.nn.functional.avg_pool3d(noise, (1, 2, 2))
    return [
        float(torch.corrcoef(torch.stack([coarse[:, :, t].flatten(), low[:, :, t].flatten()]))[0, 1])
        for t in range(low.shape[2])
    ]


def test_freenoise_shuffles_once_and_the_large_run_keeps_it(shuffled, monkeypatch):
    _, trajectory = low_res(shuffled)
    triple = shuffled.upsample(trajectory)
    ready = triple[2].noise.clone()
    sampled = noise_that_is_sampled(lambda: shuffled.high_res(triple), monkeypatch)
    assert torch.equal(sampled, ready)
    assert torch.equal(triple[2].noise, ready)
    assert min(agreement(sampled, trajectory.noise[3].float())) > 0.95
    # The small run was shuffled: its later frames repeat noise of earlier ones.
    _, plain_trajectory = low_res(sliced(shuffled))
    later = [agreement(sampled, plain_trajectory.noise[3].float())[t] for t in (3, 4)]
    assert max(later) < 0.5


def test_fresh_noise_is_shuffled_and_stays_as_it_was(shuffled, monkeypatch):
    _, trajectory = low_res(shuffled)
    triple = shuffled.upsample(trajectory, noise_mode="fresh")
    ready = triple[2].noise.clone()
    sampled = noise_that_is_sampled(lambda: shuffled.high_res(triple), monkeypatch)
    assert torch.equal(sampled[:, :, :CONTEXT], ready[:, :, :CONTEXT])
    assert not torch.equal(sampled, ready)
    assert torch.equal(triple[2].noise, ready)


def test_a_video_within_one_slice_is_like_any_other(plain, graph):
    _, trajectory = low_res(graph, frames=CONTEXT)
    _, expected = low_res(plain, frames=CONTEXT)
    assert torch.equal(trajectory.reach.mass, expected.reach.mass)


def never_called(*_: Any, **__: Any) -> None:
    raise AssertionError("the model was called before the input was checked")


def test_other_slices_than_those_of_the_record_are_refused(plain, graph, record, monkeypatch):
    monkeypatch.setattr(type(graph.guider), "predict_noise", never_called)
    says = r"windows were made for 3 frames of tokens, but this model sees 5 at a time\. Use the same context"
    with pytest.raises(ValueError, match=says):
        plain.high_res(record[1], windows=record[2])
    shorter = sliced(plain, context_length=5)
    with pytest.raises(ValueError, match="made for 3 frames of tokens, but this model sees 2"):
        shorter.high_res(record[1], windows=record[2])


def test_slices_in_space_are_refused(plain, monkeypatch):
    monkeypatch.setattr(type(plain.guider), "predict_noise", never_called)
    beside = sliced(plain, "ContextWindowsManual", context_length=4, dim=4)
    with pytest.raises(ValueError, match=r"cut the video along axis 4.*Set dim to 2.*capture_rows 0"):
        low_res(beside)


def test_slices_that_only_another_pack_knows_of_end_the_run_after_one_step(plain, graph, monkeypatch):
    """Without core's handler in the options, the first step shows them."""
    module = graph.modules.pack("nodes.host.attention.video_grid")
    patched = graph.modules.pack("nodes.host.families.family").patched_grid
    monkeypatch.setattr(module, "grid_per_pass", lambda options, samples, patch: patched(samples, patch))
    says = r"called with \(3, 4, 4\) tokens of a video of \(5, 4, 4\).*Set capture_rows to 0"
    with pytest.raises(ValueError, match=says):
        low_res(graph)
    latent, trajectory = low_res(graph, capture_rows=0)
    assert trajectory.reach is None
    assert torch.isfinite(latent["samples"]).all()


def test_apply_windows_of_a_whole_video_leaves_slices_dense_and_says_so(plain, graph, caplog):
    """There the size is known only when the model runs."""
    _, trajectory = low_res(plain)
    triple = plain.upsample(trajectory)
    windows = plain.windows(trajectory, triple[0], s=0.5)
    (model,) = plain.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=windows)
    with caplog.at_level("WARNING"):
        result = plain.high_res(triple, guider=wan_graph(plain.modules, model=model).guider)
    assert torch.equal(result, graph.high_res(triple))
    told = [r.getMessage() for r in caplog.records if "S²Flow" in r.getMessage()]
    assert len([text for text in told if "leaves attention unchanged" in text]) == 1
    assert len([text for text in told if "windows reached 0 of 2 attention layers" in text]) == 1
