"""Attention on several GPUs: the video of one, no thread left, and a sentence for what is not shared."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch
from two_devices import TWO, helping_threads
from unusual_guiders import below_ours


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    return trajectory, triple, graph.windows(trajectory, triple[0], s=0.5)


def settings_of(record, kind):
    trajectory, _, windows = record
    return {
        "windows": {"windows": windows, "backend": "torch_boxes"},
        "auto": {"windows": windows},
        "dense by name": {"windows": windows, "backend": "dense"},
        "positions": {"trajectory": trajectory, "rope": "position", "attention_temperature": True},
        "nothing else": {},
    }[kind]


@pytest.mark.parametrize("kind", ["windows", "auto", "dense by name", "positions", "nothing else"])
def test_the_large_video_is_that_of_one_gpu(graph, record, shares, caplog, kind):
    settings = settings_of(record, kind)
    expected = graph.high_res(record[1], **settings)
    assert shares == []
    with caplog.at_level("WARNING"):
        given = graph.high_res(record[1], **settings, gpus=2)
    assert torch.equal(given, expected)
    layers = len(graph.guider.model_patcher.model.diffusion_model.blocks)
    assert len(shares) >= 3 * layers  # of each of three steps
    assert helping_threads() == []
    assert [r.getMessage() for r in caplog.records if "S²Flow" in r.getMessage()] == []


@pytest.mark.parametrize("gpus", [0, 2])
def test_apply_windows_shares_under_any_sampler(graph, record, shares, gpus):
    from plain_runs import core_euler

    _, (latent, sigmas, noise), windows = record
    results = []
    for count in (1, gpus):
        model = graph.run(
            "S2FlowApplyWindows",
            model=graph.guider.model_patcher,
            windows=windows,
            backend="torch_boxes",
            gpus=count,
        )[0]
        results.append(core_euler(with_model(graph, model), noise, sigmas, latent))
    assert torch.equal(*results)
    assert shares and helping_threads() == []


def with_model(graph, model):
    """The graph with another model under its guider's prompts."""
    import copy
    from dataclasses import replace

    guider = copy.copy(graph.guider)
    guider.model_patcher, guider.model_options = model, model.model_options
    return replace(graph, guider=guider)


@pytest.mark.parametrize("window", [0, 2])
def test_the_refiner_shares_with_temporal_windows_and_without(graph, shares, window):
    latent = {"samples": torch.randn(graph.low_res()[0]["samples"].shape, generator=torch.manual_seed(5))}
    inputs = {"guider": graph.guider, "latent": latent, "mode": "renoise", "steps": 2, "window": window}
    alone, two = (graph.run("S2FlowRefinerSampler", **inputs, gpus=gpus)[0]["samples"] for gpus in (1, 2))
    assert torch.equal(alone, two)
    assert shares and helping_threads() == []


def test_asking_for_more_than_there_are_is_said(graph, record, shares, caplog):
    expected = graph.high_res(record[1])
    with caplog.at_level("WARNING"):
        given = graph.high_res(record[1], gpus=5)
    assert torch.equal(given, expected) and shares
    (said,) = [r.getMessage() for r in caplog.records if "gpus" in r.getMessage()]
    assert said == (
        "gpus is 5, but ComfyUI sees 2 here, so S²Flow uses those 2. Set gpus to 0 to take all there are."
    )


ALONE = (
    "it stays on one GPU, because another node computes it. If that is S²Flow Apply Windows, set its own gpus"
)


def from_another_pack(original, q, k, v, *args, **kwargs):
    """Not ours to call on other threads: it may count its calls."""
    assert threading.current_thread() is threading.main_thread()
    return original(q, k, v, *args, **kwargs) * 0.9


@pytest.mark.parametrize("kind", ["nothing else", "positions", "auto", "windows"])
def test_what_another_pack_computes_stays_on_one_device(graph, record, shares, caplog, kind):
    """Our own windows are shared above it all the same; `auto` leaves calls as small as these to it."""
    guider = below_ours(graph.guider, from_another_pack)
    settings = settings_of(record, kind) | {"guider": guider}
    expected = graph.high_res(record[1], **settings)
    with caplog.at_level("WARNING"):
        given = graph.high_res(record[1], **settings, gpus=2)
    assert torch.equal(given, expected)
    assert bool(shares) is (kind == "windows") and helping_threads() == []
    said = [r.getMessage() for r in caplog.records if ALONE in r.getMessage()]
    assert len(said) == (0 if kind == "windows" else 1)


def test_windows_applied_below_share_by_their_own_input(graph, record, shares, caplog):
    windows = {"windows": record[2], "backend": "torch_boxes"}
    videos = {}
    for below, above in itertools.product((1, 2), (1, 2)):
        model = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, gpus=below, **windows)[0]
        with caplog.at_level("WARNING"):
            videos[below, above] = graph.high_res(
                record[1], guider=with_model(graph, model).guider, gpus=above
            )
        assert bool(shares) is (below == 2)
        assert (ALONE in caplog.text) is (above == 2)
        shares.clear()
        caplog.clear()
    assert all(torch.equal(videos[1, 1], video) for video in videos.values())
    assert helping_threads() == []


@pytest.mark.parametrize("gpus", [0, 4])
def test_one_device_alone_shares_nothing(graph, record, caplog, gpus):
    with caplog.at_level("WARNING"):
        given = graph.high_res(record[1], gpus=gpus)
    assert torch.equal(given, graph.high_res(record[1]))
    assert helping_threads() == []
    said = [r.getMessage() for r in caplog.records if "gpus" in r.getMessage()]
    assert said == (
        ["gpus is 4, but ComfyUI sees 1 here, so S²Flow uses that one. Set gpus to 0 to take all there are."]
        if gpus
        else []
    )


@pytest.mark.parametrize("kind", ["windows", "nothing else"])
def test_a_cancelled_run_leaves_no_thread(graph, record, shares, kind):
    """ComfyUI's cancel is met at the next attention call of the main thread."""
    import comfy.model_management

    blocks = graph.guider.model_patcher.model.diffusion_model.blocks
    hook = blocks[1].register_forward_pre_hook(
        lambda *_: comfy.model_management.interrupt_current_processing()
    )
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            graph.high_res(record[1], **settings_of(record, kind), gpus=2)
    finally:
        hook.remove()
    assert shares and helping_threads() == []


def test_the_trial_decides_in_a_run_and_says_what(graph, record, comfy_modules, monkeypatch, caplog):
    """Without a fixture that forces it; either way the video is the same."""
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", lambda *_, **__: TWO, raising=False)
    trial = comfy_modules.pack("s2flow_core.attention.sharing.trial").Trial
    expected = graph.high_res(record[1], **settings_of(record, "windows"))
    for faster, words in ((True, "attention shared by cpu ("), (False, "sharing is no faster here (")):
        monkeypatch.setattr(trial, "is_faster", lambda _, faster=faster: faster)
        caplog.clear()
        with caplog.at_level("INFO"):
            given = graph.high_res(record[1], **settings_of(record, "windows"), gpus=2)
        assert torch.equal(given, expected)
        said = [r.getMessage() for r in caplog.records if words in r.getMessage()]
        assert len(said) == 1, said


@pytest.mark.parametrize(
    ("running", "gpus", "helped"),
    [
        ([0], 1, {}),
        ([0], 3, {0: [1, 2]}),
        ([1], 4, {1: [0, 2, 3]}),
        ([0, 1], 4, {0: [2], 1: [3]}),
        ([0, 1], 3, {0: [2]}),
        ([0, 1], 2, {}),
    ],
)
def test_who_helps_whom(comfy_modules, monkeypatch, running, gpus, helped):
    """Under core's MultiGPU CFG Split several devices run the model; the rest is dealt out among them."""
    from types import SimpleNamespace

    import comfy.model_management

    devices = [torch.device("cuda", number) for number in range(4)]
    monkeypatch.setattr(
        comfy.model_management, "get_all_torch_devices", lambda *_, **__: devices, raising=False
    )
    clones = [SimpleNamespace(load_device=devices[number]) for number in running[1:]]
    patcher = SimpleNamespace(
        load_device=devices[running[0]], get_additional_models_with_key=lambda _: clones
    )
    found = comfy_modules.pack("nodes.host.model.devices").helpers_of(patcher, gpus)
    assert {main.index: [d.index for d in others] for main, others in found.items()} == helped
