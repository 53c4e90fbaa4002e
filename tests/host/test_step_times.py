"""The small run says what its steps took, part by part, and the report uses it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from kept_chain import Chain, prompt_of
from stopped_model import Stopper
from tiny_wan import STEPS


@pytest.mark.parametrize("sampler", [None, "res_multistep"])
def test_a_step_is_split_into_its_parts(graph, sampler):
    import comfy.samplers

    given = {} if sampler is None else {"sampler": comfy.samplers.sampler_object(sampler)}
    _, trajectory = graph.low_res(**given)
    step = trajectory.step_seconds
    assert 0 < step.attention < step.whole and 0 < step.capture < step.whole
    assert step.attention + step.capture <= step.whole
    assert step.whole * STEPS < 3 * trajectory.seconds


def test_attention_that_takes_longer_is_seen(graph, monkeypatch):
    import time

    import comfy.ldm.wan.model as wan

    plain, slow = wan.optimized_attention, 0.02

    def slower(*given, **named):
        time.sleep(slow)
        return plain(*given, **named)

    before = graph.low_res()[1].step_seconds
    monkeypatch.setattr(wan, "optimized_attention", slower)
    override = {"optimized_attention_override": lambda original, *given, **named: slower(*given, **named)}
    options = graph.guider.model_options
    monkeypatch.setitem(options, "transformer_options", options.get("transformer_options", {}) | override)
    after = graph.low_res()[1].step_seconds
    layers = graph.low_res()[1].model.layers
    assert after.attention - before.attention > 0.9 * slow * layers
    assert after.capture - before.capture < 0.5 * slow * layers


def test_without_a_capture_nobody_sees_the_attention(graph):
    assert graph.low_res(capture_rows=0)[1].step_seconds is None


def test_a_device_without_a_clock_is_not_timed(comfy_modules):
    watch = comfy_modules.pack("nodes.host.attention.stopwatch").Stopwatch()
    for device in ("meta", "cpu"):
        watch.stop(watch.start(torch.device(device)))
    assert watch.taken() is None
    watch.stop(watch.start(torch.device("cpu")))
    assert watch.taken() > 0
    assert watch.taken() == 0


def test_devices_that_compute_at_the_same_time_count_once(comfy_modules, monkeypatch):
    module = comfy_modules.pack("nodes.host.attention.stopwatch")
    times = iter([0.0, 1.0, 0.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr(module, "moment", lambda device: next(times))
    watch = module.Stopwatch()
    for device in ("cuda:0", "cuda:1", "cuda:0"):
        watch.stop(watch.start(torch.device(device)))
    assert watch.taken() == 3.0


def test_a_run_that_was_stopped_still_knows(graph, monkeypatch, tmp_path):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    chain = Chain(graph, prompt_of(every=1))
    with Stopper(graph) as model:
        model.stop(STEPS - 1, chain.low)
        assert model.run(chain.low)[1].step_seconds is not None


@pytest.mark.parametrize("kept", [None, [], ["a", 1, 2], [1.0, 2.0], [float("nan"), 0, 0], "abc", [-1, 0, 0]])
def test_kept_seconds_that_cannot_be_are_dropped(comfy_modules, kept):
    clock = comfy_modules.pack("nodes.host.sampling.step_clock").StepClock()
    clock.restore(kept)
    assert clock.typical() is None and clock.state() == []


def test_seconds_do_not_make_another_run(comfy_modules, graph):
    """A large run that was stopped goes on after its small run was made anew, which takes another time."""
    digest = comfy_modules.pack("nodes.host.resume.content").digest_of_content
    _, trajectory = graph.low_res()
    slower = dataclasses.replace(trajectory.step_seconds, whole=99.0)
    assert digest(dataclasses.replace(trajectory, step_seconds=slower)) == digest(trajectory)
    assert digest(dataclasses.replace(trajectory, boundaries=(1,))) != digest(trajectory)


@pytest.mark.parametrize("with_sigmas", [True, False])
def test_the_report_begins_with_size_steps_and_time(graph, comfy_modules, with_sigmas):
    _, trajectory = graph.low_res()
    latent, sigmas, _ = graph.upsample(trajectory, t_i=2)
    node = comfy_modules.node("S2FlowWindowMask")
    given = {"sigmas": sigmas} if with_sigmas else {}
    plan, report, _ = node.execute(trajectory, latent, 0.5, **given).args
    height, width = (8 * side for side in latent["samples"].shape[-2:])
    first, second, *details = report.splitlines()
    assert first.startswith(f"{width}×{height}, {'2 steps, ' if with_sigmas else ''}density ")
    assert first.endswith(" left." if with_sigmas else " a step.") and "than dense" in first
    assert second.startswith("Verdict: ")
    assert details == plan.report().splitlines()
    untimed = dataclasses.replace(trajectory, step_seconds=None)
    assert "was not timed" in node.execute(untimed, latent, 0.5, **given).args[1]
