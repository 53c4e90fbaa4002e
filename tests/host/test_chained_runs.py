"""A large run that is written down is what a still larger run goes on from."""

from __future__ import annotations

import copy

import pytest
import torch
from kept_chain import HIGH, Chain, node, prompt_of
from stopped_model import Stopper
from tiny_wan import STEPS

T_I, AGAIN = 4, 2  # steps at the second size, and at the third


@pytest.fixture(scope="module")
def small(graph):
    _, trajectory = graph.low_res()
    return trajectory


def large_run(graph, small, **changes):
    """(video, record) of the second size, with windows and the solver's second order."""
    latent, sigmas, noise = graph.upsample(small, t_i=T_I)
    given = {
        "noise": noise,
        "guider": graph.guider,
        "sigmas": sigmas,
        "latent_image": latent,
        "trajectory": small,
        "windows": graph.windows(small, latent, s=0.5),
        "order": 2,
        "record": True,
        "backend": "torch_boxes",
    }
    video, record = graph.run("S2FlowHighResSampler", **given | changes)
    return video["samples"], record


@pytest.fixture(scope="module")
def large(graph, small):
    return large_run(graph, small)


def test_writing_it_down_changes_nothing(graph, small, large):
    plain, blocked = large_run(graph, small, record=False)
    assert torch.equal(plain, large[0])
    assert "Switch on its input record" in blocked.message


@pytest.mark.parametrize(("order", "euler"), [(1, True), (2, False)])
def test_the_record_is_that_of_the_run(graph, small, order, euler):
    video, record = large_run(graph, small, order=order)
    assert torch.equal(record.sigmas, small.sigmas[STEPS - T_I :])
    assert record.token_shape == (3, 8, 8) and record.small_shape == small.token_shape == (3, 4, 4)
    assert torch.equal(record.final, video) and record.finished and record.euler is euler
    if euler:  # its last step ends at its estimate
        torch.testing.assert_close(record.denoised[-1].float(), video, atol=5e-3, rtol=0)
    assert record.noise.std() == pytest.approx(1, abs=0.3)
    assert torch.equal(record.reach.mass, small.reach.mass[STEPS - T_I :])
    assert torch.equal(record.reach.error, small.reach.error[STEPS - T_I :])
    assert record.step_seconds == small.step_seconds is not None  # so a third size is forecast as well


def test_each_step_of_an_euler_record_leads_to_the_next(graph, small):
    _, record = large_run(graph, small, order=1)
    into = graph.guider.model_patcher.model.process_latent_in
    clean, noise, sigmas = into(record.denoised.float()), record.noise.float(), record.sigmas
    for i in range(T_I - 1):
        state = (1 - sigmas[i]) * clean[i] + sigmas[i] * noise[i]
        after = state + (noise[i] - clean[i]) * (sigmas[i + 1] - sigmas[i])
        expected = (1 - sigmas[i + 1]) * clean[i + 1] + sigmas[i + 1] * noise[i + 1]
        torch.testing.assert_close(after, expected, atol=5e-3, rtol=0)


def test_a_still_larger_run_goes_on_from_it(graph, large, no_fall_back):
    _, record = large
    triple = graph.upsample(record, t_i=AGAIN)
    latent = triple[0]["samples"]
    assert latent.shape[-2:] == (32, 32) and torch.equal(triple[1], record.sigmas[-AGAIN - 1 :])
    whole = graph.windows(record, triple[0], s=1.0)
    half = graph.windows(record, triple[0], s=0.5)
    assert half.density == pytest.approx(0.5, abs=0.05) and half.grid.shape == (3, 16, 16)
    given = {"trajectory": record, "order": 2, "backend": "torch_boxes"}
    dense = graph.high_res(triple, **given | {"backend": "auto"})
    assert torch.isfinite(dense).all()
    torch.testing.assert_close(graph.high_res(triple, windows=whole, **given), dense, atol=1e-4, rtol=1e-4)
    assert not torch.equal(graph.high_res(triple, windows=half, **given), dense)


def test_positions_go_back_to_the_size_that_the_model_knows(graph, small, large):
    size_change = graph.modules.pack("nodes.host.attention.for_high_res").size_change
    latent = graph.upsample(large[1], t_i=AGAIN)[0]["samples"]
    change = size_change(large[1], latent, None, "position", False)
    assert (change.low, change.high) == (small.token_shape, (3, 16, 16))


def test_it_is_saved_and_loaded_as_it_is(graph, large, output_folder):
    graph.run("S2FlowSaveTrajectory", trajectory=large[1], filename_prefix="large")
    (loaded,) = graph.run("S2FlowLoadTrajectory", file="output/large_00001.s2flow.safetensors")[1:]
    assert (loaded.chained_from, loaded.euler) == (large[1].chained_from, False)
    assert torch.equal(loaded.noise, large[1].noise) and torch.equal(loaded.reach.mass, large[1].reach.mass)


def test_two_experts_leave_their_boundary_in_it(graph, small):
    sigmas = small.sigmas[STEPS - T_I :]
    given = {"guider_low_noise": graph.guider, "boundary": float(sigmas[1])}
    assert large_run(graph, small, **given)[1].boundaries == (2,)


@pytest.mark.parametrize("step", [1, 2])
def test_a_stopped_run_goes_on_with_its_record(graph, small, large, output_folder, step):
    chain = Chain(graph, prompt_of(every=1))
    given = {"order": 2, "record": True}

    def run():
        latent, sigmas, noise = graph.upsample(small, t_i=T_I)
        windows = graph.windows(small, latent, s=0.5)
        inputs = {"noise": noise, "sigmas": sigmas, "latent_image": latent, "windows": windows}
        return chain.run(
            HIGH, guider=graph.guider, trajectory=small, backend="torch_boxes", **inputs, **given
        )[1]

    with Stopper(graph) as model:
        model.stop(step, run)
        record = model.run(run)
        assert model.calls == T_I - step
    assert torch.equal(record.denoised, large[1].denoised) and torch.equal(record.noise, large[1].noise)
    assert torch.equal(record.final, large[1].final)


def test_a_connection_to_what_nobody_writes_is_told_before_the_run(graph, small):
    prompt = prompt_of(every=0) | {"9": node("S2FlowUpsample", trajectory=[HIGH, 1], t_i=2)}
    Chain(graph, prompt).high(small)  # nothing runs what only the second Upsample asks for
    prompt["10"] = node("SaveLatent", samples=["9", 0], filename_prefix="x")
    with Stopper(graph) as model:
        with pytest.raises(ValueError, match="Switch on its input record"):
            Chain(graph, prompt).high(small)
        assert model.calls == 0


def test_a_run_without_a_small_one_is_written_down_without_attention(graph, small):
    _, record = large_run(graph, small, trajectory=None, windows=None, order=1)
    assert record.reach is None and record.small_shape == record.token_shape
    assert record.denoised.dtype == torch.float32
    latent = copy.copy(graph.upsample(record, t_i=AGAIN)[0])
    with pytest.raises(ValueError, match="holds no attention record"):
        graph.windows(record, latent, s=0.5)
