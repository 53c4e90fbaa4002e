"""Guiders that hand a run on keep windows, positions and record; those that cannot are refused at once."""

from __future__ import annotations

import logging

import pytest
import torch
from tiny_wan import LATENT, LAYERS, STEPS, SeededNoise, wan_graph
from unusual_guiders import (
    DelegatingGuider,
    LateGuider,
    NestedGuider,
    OwnSamplerGuider,
    RepeatingGuider,
    ScheduledGuider,
    ShorteningGuider,
    TransparentGuider,
    deaf_guider,
)

HANDING_ON = (DelegatingGuider, TransparentGuider, NestedGuider, ScheduledGuider)
REFUSED = {
    RepeatingGuider: "repeats",
    ShorteningGuider: "of the . steps that S²Flow gave it",
    LateGuider: "asks for the steps",
    OwnSamplerGuider: "ran 0 of the",
}


def windowed(graph, record, guider):
    return graph.high_res(
        record[1],
        guider=guider,
        windows=record[2],
        trajectory=record[0],
        order=3,
        rope="position",
        backend="torch_boxes",
    )


@pytest.mark.parametrize("kind", HANDING_ON)
def test_the_small_run_is_recorded_in_every_step_and_layer(graph, record, kind):
    latent, trajectory = graph.low_res(guider=kind(graph.guider))
    assert tuple(trajectory.reach.mass.shape[:2]) == (STEPS, LAYERS)
    assert torch.equal(trajectory.reach.mass, record[0].reach.mass)
    assert torch.equal(latent["samples"], record[0].final)


@pytest.mark.parametrize("kind", HANDING_ON)
def test_windows_and_positions_are_those_of_a_plain_guider(graph, record, kind, caplog):
    with caplog.at_level(logging.INFO):
        result = windowed(graph, record, kind(graph.guider))
    assert torch.equal(result, windowed(graph, record, graph.guider))
    assert f"density {record[2].density:.3f} achieved" in caplog.text


@pytest.mark.parametrize("kind", HANDING_ON)
def test_the_refiners_windows_are_there(graph, record, kind):
    def refined(guider, window):
        return graph.run(
            "S2FlowRefinerSampler",
            guider=guider,
            latent={"samples": record[0].final},
            mode="renoise",
            steps=3,
            window=window,
        )[0]["samples"]

    plain = refined(graph.guider, window=2)
    assert torch.equal(refined(kind(graph.guider), window=2), plain)
    assert not torch.equal(refined(graph.guider, window=0), plain)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_guider_that_does_not_run_the_steps_it_is_given_is_refused(graph, record, kind):
    with pytest.raises(ValueError, match=REFUSED[kind]):
        graph.low_res(guider=kind(graph.guider))
    with pytest.raises(ValueError, match=REFUSED[kind]):
        windowed(graph, record, kind(graph.guider))


def test_a_guider_that_drops_the_samplers_options_stops_at_its_first_step(graph, record):
    seen = []
    deaf = deaf_guider(graph.guider)
    original = deaf.predict_noise
    deaf.predict_noise = lambda *given, **named: seen.append(1) or original(*given, **named)
    with pytest.raises(ValueError, match="windows cannot reach it"):
        windowed(graph, record, deaf)
    assert len(seen) == 1
    with pytest.raises(ValueError, match="the measurement of its reach cannot reach it"):
        graph.low_res(guider=deaf)


def test_nobody_is_told_of_pieces_that_nobody_asked_for(graph, record):
    """Dense and without positions, such a guider's model needs the hook for its feed-forward layers alone."""
    trajectory, triple = record[:2]
    deaf = deaf_guider(graph.guider)
    assert torch.equal(graph.high_res(triple, guider=deaf), graph.high_res(triple))
    for word, asked in (
        ("feed_forward_chunks", {"feed_forward_chunks": 2}),
        ("rope", {"trajectory": trajectory, "rope": "position"}),
    ):
        with pytest.raises(ValueError, match=f"so {word} cannot reach it"):
            graph.high_res(triple, guider=deaf, **asked)


def test_a_guider_inside_with_another_model_is_refused(graph, comfy_modules):
    import comfy.sd
    from tiny_wan import random_wan_weights

    weights = random_wan_weights(comfy_modules.pack)
    deeper = {
        name.replace("blocks.1.", "blocks.2."): value
        for name, value in weights.items()
        if name.startswith("blocks.1.")
    }
    other = wan_graph(comfy_modules, model=comfy.sd.load_diffusion_model_state_dict(weights | deeper))
    guider = DelegatingGuider(other.guider)
    guider.model_patcher = graph.guider.model_patcher
    with pytest.raises(ValueError, match=r"\(2 layers\), but samples with one of wan \(3 layers\)"):
        graph.low_res(guider=guider)


def test_a_stopped_run_leaves_the_guider_as_it_was(graph):
    before = dict(vars(graph.guider))

    class Stopping(SeededNoise):
        def generate_noise(self, latent):
            return super().generate_noise(latent) * float("nan")

    with pytest.raises(ValueError, match="before the first step"):
        graph.low_res(noise=Stopping(3))
    assert vars(graph.guider) == before
    assert "inner_model" not in vars(graph.guider)


@pytest.mark.parametrize("change", ["shuffled", "scaled", "in place"])
def test_noise_that_belongs_to_the_video_stays_whatever_wraps_the_sampling(graph, record, change):
    """FreeNoise shuffles it; other packs add to it, or write into what they are given."""
    import comfy.patcher_extension

    def wrapper(executor, guider, sigmas, extra_args, callback, noise, *given, **named):
        if change == "shuffled":
            noise = noise.flip(2)
        elif change == "scaled":
            noise = noise * 1.1
        else:
            noise.mul_(0.5)
        return executor(guider, sigmas, extra_args, callback, noise, *given, **named)

    patcher = graph.guider.model_patcher.clone()
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, "another pack", wrapper)
    meddled = wan_graph(graph.modules, model=patcher)
    expected = graph.high_res(record[1])
    for _ in range(2):  # the cached noise is the same the second time
        assert torch.equal(meddled.high_res(record[1]), expected)
    # Where the noise is free, the other node has its way.
    free = meddled.low_res(latent_image={"samples": torch.zeros(LATENT)})[0]["samples"]
    assert not torch.equal(free, record[0].final)
