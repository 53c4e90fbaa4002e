"""Too many steps for the large run are told before the small run spends its time, and a share always fits."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from kept_chain import HIGH, LOW, SAVE, UPSAMPLE, WINDOWS, Chain, node, prompt_of
from tiny_wan import STEPS

PICK, SECOND, NUMBER = "7", "8", "9"


def asking_for(t_i, **more):
    prompt = prompt_of(0) | more
    prompt[UPSAMPLE]["inputs"]["t_i"] = t_i
    return prompt


def through_a_pick(t_i):
    prompt = asking_for(t_i)
    prompt[PICK] = node("S2FlowPickPreview", latent=[LOW, 0], trajectory=[LOW, 1])
    prompt[UPSAMPLE]["inputs"]["trajectory"] = [PICK, 1]
    return prompt


@pytest.fixture
def forbidden_steps(graph, monkeypatch):
    """The graph, whose model must not be asked for a step."""

    def step(*_, **__):
        raise AssertionError("the small run began")

    monkeypatch.setattr(graph.guider, "predict_noise", step, raising=False)
    return graph


@pytest.mark.parametrize(
    "prompt",
    [
        asking_for(STEPS + 1),
        asking_for([NUMBER, 0], **{NUMBER: node("PrimitiveInt", value=STEPS + 4)}),
        through_a_pick(30),
    ],
    ids=["set on the node", "by a shared number", "through a pick"],
)
def test_more_steps_than_the_schedule_has_end_the_run_before_it_begins(forbidden_steps, prompt):
    with pytest.raises(ValueError, match=f"but the LR run recorded {STEPS} steps"):
        Chain(forbidden_steps, prompt).low()


def of_a_second_run(t_i):
    """Upsample takes the record of a run that continues this one, so this one alone need not suffice."""
    prompt = asking_for(t_i)
    prompt[SECOND] = node("S2FlowLowResSampler", trajectory=[LOW, 1], latent_image=[LOW, 0])
    prompt[UPSAMPLE]["inputs"]["trajectory"] = [SECOND, 1]
    return prompt


def that_leads_nowhere(t_i):
    prompt = asking_for(t_i)
    return {number: prompt[number] for number in (LOW, UPSAMPLE)}


def that_nobody_saves(t_i):
    """As where the nodes that save the large video are muted."""
    prompt = asking_for(t_i)
    del prompt[SAVE]
    return prompt


@pytest.mark.parametrize(
    "prompt",
    [
        asking_for(STEPS),
        asking_for(0),
        asking_for(["6", 0], **{"6": node("SomeMath", a=3)}),
        of_a_second_run(STEPS + 1),
        that_leads_nowhere(STEPS + 1),
        that_nobody_saves(STEPS + 1),
    ],
    ids=[
        "as many as there are",
        "a share",
        "by an unknown link",
        "of a second run",
        "leads nowhere",
        "unsaved",
    ],
)
def test_what_fits_or_is_not_known_runs(graph, prompt):
    assert HIGH not in prompt or prompt[HIGH]["inputs"]["trajectory"] == [LOW, 1]
    _, trajectory = Chain(graph, prompt).low()
    assert trajectory.steps == STEPS


@pytest.mark.parametrize("steps", [20, 4, 2])
def test_a_new_node_fits_a_schedule_of_any_length(graph, comfy_modules, steps):
    schedule = comfy_modules.pack("demo.generate").schedule(graph.guider.model_patcher, steps)
    _, trajectory = replace(graph, sigmas=schedule).low_res(capture_rows=0)
    given = {"trajectory": trajectory, "scale": 2.0, "method": "bicubic", "seed": 1}
    of_a_new_node = comfy_modules.node("S2FlowUpsample").GET_NODE_INFO_V1()["input"]
    fresh = {
        "t_i": of_a_new_node["required"]["t_i"][1]["default"],
        "share": of_a_new_node["optional"]["share"][1]["default"],
    }
    _, sigmas, _ = graph.run("S2FlowUpsample", **given, **fresh)
    assert torch.equal(sigmas, schedule[-round(0.6 * steps) - 1 :])
    # An earlier graph has no share and means its number of steps.
    _, sigmas, _ = graph.run("S2FlowUpsample", **given, t_i=2)
    assert torch.equal(sigmas, schedule[-3:])


@pytest.mark.parametrize(("t_i", "refused"), [(30, False), (80, False), (0, False), (-1, True)])
def test_comfyui_takes_what_earlier_graphs_hold(comfy_modules, t_i, refused):
    """As an earlier version sent it, without share; its widget went to 1000, the slider goes to 60."""
    import execution

    prompt = {
        "1": node("S2FlowLoadTrajectory", file="gone.s2flow.safetensors"),
        "2": node(
            "S2FlowUpsample",
            **{"trajectory": ["1", 1], "t_i": t_i, "scale": 2.0, "method": "bicubic", "seed": 1},
            **{"width": 0, "height": 0, "noise_mode": "lr_consistent", "sigma_mode": "literal"},
        ),
        "3": node("SaveLatent", samples=["2", 0], filename_prefix="x"),
    }
    *_, problems = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert ("2" in problems) is refused
    if refused:
        (error,) = problems["2"]["errors"]
        assert "t_i is -1" in error["details"]


def test_a_second_enlargement_is_measured_by_the_large_run(comfy_modules):
    """The record of the large run holds its own steps, however many the small run has."""
    require = comfy_modules.pack("nodes.host.steps_ahead").require_steps_ahead
    prompt = asking_for(3)
    prompt["7"] = node("S2FlowUpsample", trajectory=[HIGH, 1], t_i=4)
    prompt["8"] = node("S2FlowHighResSampler", latent_image=["7", 0], trajectory=[HIGH, 1])
    prompt["9"] = node("SaveLatent", samples=["8", 0])
    require(SimpleNamespace(prompt=prompt, unique_id=LOW), STEPS)
    with pytest.raises(ValueError, match=r"is 4, but the LR run recorded 3 steps"):
        require(SimpleNamespace(prompt=prompt, unique_id=HIGH), 3)


@pytest.mark.parametrize(
    ("capture", "policy", "told"),
    [
        ((0, 256, True), "paper", "cannot see the attention of this model"),
        ((4, 0, True), "paper", "capture_rows is 0"),
        ((4, 256, False), "error", "the policy 'error' of S²Flow Window Mask needs it"),
        ((4, 256, False), "error_run", "the policy 'error_run'"),
        ((4, 256, False), "paper", ""),
        ((4, 256, True), "error", ""),
    ],
)
def test_windows_without_their_measurement_are_told_before_the_run(
    comfy_modules, caplog, capture, policy, told
):
    ahead = comfy_modules.pack("nodes.host.steps_ahead")
    settings = comfy_modules.pack("nodes.host.attention.for_low_res").CaptureSettings(*capture)
    hidden = SimpleNamespace(prompt=prompt_of(0), unique_id=LOW)
    hidden.prompt[WINDOWS]["inputs"]["policy"] = policy
    ahead.warn_of_missing_attention(hidden, settings)
    assert told in caplog.text and bool(told) is bool(caplog.text)
    caplog.clear()
    del hidden.prompt[WINDOWS]
    ahead.warn_of_missing_attention(hidden, settings)
    assert not caplog.text


def test_the_small_run_says_it_and_goes_on(graph, caplog):
    Chain(graph, prompt_of(0)).low(capture_rows=0)
    assert "capture_rows is 0" in caplog.text


@pytest.mark.parametrize(("go", "refused"), [(False, False), (True, True)])
def test_what_a_closed_gate_holds_back_is_not_asked_for(graph, go, refused):
    prompt = asking_for(STEPS + 1)
    prompt["6"] = node("S2FlowPreviewGate", result=[HIGH, 0], go=go)
    prompt[SAVE]["inputs"]["samples"] = ["6", 0]
    with pytest.raises(ValueError, match=r"t_i .* is 7") if refused else nullcontext():
        Chain(graph, prompt).low()
