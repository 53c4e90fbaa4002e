"""Previews to choose from on a running server: what the websocket says ran, with the gate off and on."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from comfyui_runner.workflow_api import widget_inputs

STEPS, SEEDS = 2, 2
BEFORE = {"unet", "vae", "prompt", "empty", "noise", "shift", "guider", "sigmas", "low", "sheet"}
HELD_BACK = {"pick", "up", "mask", "high", "decode", "video"}
AFTER_THE_GATE = {"gate", "save"}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture(scope="module")
def pick_one(comfyui_server) -> dict[str, Any]:
    """A batch of small videos, a contact sheet, and one large video behind the gate."""
    prompt = small_graph()
    for step in prompt.values():
        step["inputs"] = widget_inputs({}, comfyui_server.object_info[step["class_type"]]) | step["inputs"]
    return prompt


def small_graph() -> dict[str, Any]:
    """The graph with the widgets that matter; the others take their defaults."""
    return {
        "unet": node("UNETLoader", unet_name="s2flow_demo_wan_t2v.safetensors", weight_dtype="default"),
        "vae": node("VAELoader", vae_name="s2flow_demo_wan_vae.safetensors"),
        "prompt": node("S2FlowDemoPrompt", color="red", shape="circle", direction="right", ground="water"),
        "empty": node("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=SEEDS),
        "noise": node("RandomNoise", noise_seed=7),
        "shift": node("ModelSamplingSD3", model=["unet", 0], shift=3.0),
        "guider": node(
            "CFGGuider", model=["shift", 0], positive=["prompt", 0], negative=["prompt", 1], cfg=4.0
        ),
        "sigmas": node("BasicScheduler", model=["shift", 0], scheduler="simple", steps=STEPS, denoise=1.0),
        "low": node(
            "S2FlowLowResSampler",
            noise=["noise", 0],
            guider=["guider", 0],
            sigmas=["sigmas", 0],
            latent_image=["empty", 0],
            capture_rows=16,
            capture_error=False,
        ),
        "sheet": node("S2FlowContactSheet", latent=["low", 0], vae=["vae", 0], columns=2, frame_height=64),
        "pick": node("S2FlowPickPreview", latent=["low", 0], trajectory=["low", 1], choice=2),
        "up": node(
            "S2FlowUpsample",
            trajectory=["pick", 1],
            t_i=1,
            scale=2.0,
            method="bicubic",
            seed=1,
            vae=["vae", 0],
        ),
        "mask": node(
            "S2FlowWindowMask", trajectory=["pick", 1], latent=["up", 0], s=0.5, policy="paper", tail=False
        ),
        "high": node(
            "S2FlowHighResSampler",
            noise=["up", 2],
            guider=["guider", 0],
            sigmas=["up", 1],
            latent_image=["up", 0],
            trajectory=["pick", 1],
            windows=["mask", 0],
            order=1,
        ),
        "decode": node("VAEDecode", samples=["high", 0], vae=["vae", 0]),
        "video": node("CreateVideo", images=["decode", 0], fps=12.0),
        "gate": node("S2FlowPreviewGate", result=["video", 0], go=False),
        "save": node("SaveVideo", video=["gate", 0], filename_prefix="gate", format="mp4", codec="h264"),
    }


def with_inputs(prompt: dict[str, Any], key: str, **inputs: Any) -> dict[str, Any]:
    changed = copy.deepcopy(prompt)
    changed[key]["inputs"].update(inputs)
    return changed


@pytest.fixture(scope="module")
def off(comfyui_server, pick_one):
    run = comfyui_server.queue(pick_one)
    assert run.succeeded, run.error
    return run


def test_gate_off_runs_the_small_videos_and_nothing_large(off):
    # The server keeps what other tests have loaded.
    assert off.executed_nodes | off.cached_nodes >= BEFORE
    assert {"low", "sheet"} <= off.executed_nodes
    assert not off.executed_nodes & HELD_BACK
    assert "save" not in off.outputs
    assert off.outputs["sheet"]["images"]


def test_another_choice_with_the_gate_off_runs_nothing_again(comfyui_server, off, pick_one):
    run = comfyui_server.queue(with_inputs(pick_one, "pick", choice=1))
    assert run.succeeded, run.error
    assert not run.executed_nodes & (BEFORE | HELD_BACK)


def test_gate_on_runs_only_what_was_held_back(comfyui_server, off, pick_one):
    run = comfyui_server.queue(with_inputs(pick_one, "gate", go=True))
    assert run.succeeded, run.error
    assert run.executed_nodes == HELD_BACK | AFTER_THE_GATE
    assert BEFORE - {"sheet"} <= run.cached_nodes
    assert run.outputs["save"]["images"]


def test_a_choice_beyond_the_batch_is_named(comfyui_server, off, pick_one):
    prompt = with_inputs(pick_one, "gate", go=True)
    run = comfyui_server.queue(with_inputs(prompt, "pick", choice=5))
    assert not run.succeeded
    assert "choice is 5, but this batch holds 2 video(s), numbered 1 to 2" in run.error
