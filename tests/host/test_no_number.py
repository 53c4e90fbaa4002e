"""NaN and infinity stop a run at the step where they appear, with the place in the model."""

from __future__ import annotations

import pytest
import torch
from tiny_wan import LATENT, STEPS, SeededNoise

BAD = (float("nan"), float("inf"), float("-inf"))


class BadNoise(SeededNoise):
    """One number of the noise is none."""

    def __init__(self, value):
        super().__init__(3)
        self.value = value

    def generate_noise(self, latent):
        noise = super().generate_noise(latent)
        noise[0, 0, 0, 0, 0] = self.value
        return noise


@pytest.mark.parametrize("value", BAD)
def test_a_mask_that_is_no_number_is_told_before_the_first_step(graph, record, value):
    def masked(latent):
        mask = torch.ones_like(latent["samples"][:, :1])
        mask[0, 0, 1, 2, 2] = value
        return latent | {"noise_mask": mask}

    empty = masked({"samples": torch.zeros(LATENT)})
    small = masked({"samples": record[0].final})
    with pytest.raises(ValueError, match="mask holds NaN"):
        graph.low_res(latent_image=empty)
    with pytest.raises(ValueError, match="mask holds NaN"):
        graph.high_res((masked(record[1][0]), *record[1][1:]))
    with pytest.raises(ValueError, match="mask holds NaN"):
        graph.run("S2FlowPickPreview", latent=small, choice=1)
    with pytest.raises(ValueError, match="mask holds NaN"):
        graph.run("S2FlowRefinerSampler", guider=graph.guider, latent=small, mode="renoise", steps=2)


def spoiled_block(graph, layer, value, from_call, part="self_attn"):
    """A hook that spoils one number of what a part of a block gives, from its n-th call on."""
    calls = []

    def spoil(module, given, out):
        calls.append(1)
        if len(calls) >= from_call:
            out = out.clone()
            out[..., -1] = value
        return out

    block = graph.guider.model_patcher.model.diffusion_model.blocks[layer]
    return getattr(block, part).register_forward_hook(spoil)


@pytest.mark.parametrize("value", BAD)
def test_a_start_that_is_no_number_is_told_from_the_samplers_own_faults(graph, record, value):
    with pytest.raises(ValueError, match="before the first step"):
        graph.low_res(noise=BadNoise(value))
    spoiled = record[1][0] | {"samples": record[1][0]["samples"].clone()}
    spoiled["samples"][0, 3, 1, 2, 2] = value
    with pytest.raises(ValueError, match="latent_image contains NaN"):
        graph.high_res((spoiled, *record[1][1:]))


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("layer", "part", "place"),
    [
        (0, "self_attn", ", in layer 0, after its attention"),
        (0, "ffn", ", before the attention of layer 1"),
        (1, "self_attn", ", in layer 1, after its attention"),
        (1, "ffn", ""),  # after the last attention there is no layer to name
    ],
)
def test_the_small_run_stops_at_the_step_of_the_fault(graph, value, layer, part, place):
    """Two conditions in one batch: one call per step and layer."""
    hook = spoiled_block(graph, layer, value, from_call=3, part=part)
    try:
        with pytest.raises(ValueError, match=rf"step 3 of {STEPS} \(sigma [0-9.]+\){place}\. Nothing"):
            graph.low_res()
    finally:
        hook.remove()


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_the_large_run_names_the_layer(graph, record, windowed, part):
    attention = graph.guider.model_patcher.model.diffusion_model.blocks[1].self_attn
    calls = []

    def spoil(module, given, out):
        calls.append(1)
        return out * float("nan") if len(calls) >= 2 else out

    hook = getattr(attention, part).register_forward_hook(spoil)
    given = {"windows": record[2], "backend": "torch_boxes"} if windowed else {}
    try:
        with pytest.raises(ValueError, match=r"step 2 of 3 .*before the attention of layer 1"):
            graph.high_res(record[1], trajectory=record[0], **given)
    finally:
        hook.remove()


@pytest.mark.parametrize("kernel", ["torch_boxes", "dense"])
def test_a_kernel_that_gives_none_is_named_as_the_attention_of_its_layer(graph, record, kernel, monkeypatch):
    backend = graph.modules.pack(f"s2flow_core.attention.backends.{kernel}")
    monkeypatch.setattr(backend, "run", lambda call: torch.full_like(call.q, float("inf")))
    with pytest.raises(ValueError, match=r"step 1 of 3 .*in the attention of layer 0") as stopped:
        graph.high_res(record[1], windows=record[2], backend=kernel)
    assert "torch_boxes" in str(stopped.value)  # what to try instead


@pytest.mark.parametrize("mode", ["flow_map", "flashvideo", "renoise"])
def test_the_refiner_stops_too(graph, record, mode):
    hook = spoiled_block(graph, 0, float("nan"), from_call=2, part="ffn")
    try:
        with pytest.raises(ValueError, match="step 2 of 4"):
            graph.run(
                "S2FlowRefinerSampler",
                guider=graph.guider,
                latent={"samples": record[0].final},
                mode=mode,
                steps=4,
            )
    finally:
        hook.remove()


def test_core_samplers_with_our_solver_stop_too(graph, record):
    sampler = graph.run("S2FlowSolver", order=2, derivative="history", trajectory=None)[0]
    hook = spoiled_block(graph, 1, float("nan"), from_call=2)
    try:
        with pytest.raises(ValueError, match="step 2 of"):
            graph.guider.sample(
                SeededNoise(1).generate_noise({"samples": torch.zeros(LATENT)}),
                torch.zeros(LATENT),
                sampler,
                graph.sigmas,
                disable_pbar=True,
                seed=1,
            )
    finally:
        hook.remove()


def test_a_value_beyond_the_records_precision_is_told_at_its_step(graph, monkeypatch):
    """Half precision ends at 65,504: the run would be good, and its record would not."""
    patcher = graph.guider.model_patcher
    monkeypatch.setattr(patcher.model, "process_latent_out", lambda latent: latent * 1e6)
    with pytest.raises(ValueError, match=r"step 1 .*precision.*full"):
        graph.low_res()
    assert graph.low_res(precision="full")[1].finished
