"""A run that stops or fails within a step goes on from the last whole one."""

from __future__ import annotations

import pytest
import torch
from kept_chain import Chain, prompt_of, same_trajectory, unbroken_chain
from stopped_model import Stopped, Stopper
from tiny_wan import STEPS


@pytest.fixture
def folder(output_folder):
    return output_folder / "s2flow_unfinished"


@pytest.fixture(scope="module")
def unbroken(graph):
    return unbroken_chain(graph)


def stop_in_step(monkeypatch, run_class, step, done):
    """Stops a run within a step: after the model's answer, or with the step's result at hand."""
    advance = run_class.advance

    def stopped(run, x, denoised, i):
        after = advance(run, x, denoised, i) if done or i != step else None
        if i == step:
            raise Stopped
        return after

    monkeypatch.setattr(run_class, "advance", stopped)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"skip_share": 0.34}, {"record": True}])
def test_a_step_that_is_stopped_half_way_leaves_nothing(
    graph, unbroken, folder, monkeypatch, settings, step, done
):
    latent, sigmas, noise = graph.upsample(unbroken[1], t_i=STEPS)
    given = {"latent_image": latent, "sigmas": sigmas, "noise": noise}
    whole = Chain(graph, prompt_of(every=0)).high(unbroken[1], **given, **settings)
    chain = Chain(graph, prompt_of(every=100))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_in_step(patch, graph.modules.pack("nodes.host.sampling.high_res").FlowRun, step, done)
        chain.high(unbroken[1], **given, **settings)
    assert torch.equal(chain.high(unbroken[1], **given, **settings), whole)
    assert not folder.exists()


def test_a_large_run_that_alone_is_kept_goes_on_from_a_small_run_that_was_computed_again(graph, folder):
    """The same numbers in another time are the same record."""
    chain = Chain(graph, prompt_of(every=0, high_every=1))
    with Stopper(graph) as model:
        model.stop(2, chain.high, model.run(chain.low)[1])
        again = model.run(chain.low)[1]
        model.run(chain.high, again)
        assert model.calls == 1
    assert not folder.exists()


@pytest.mark.parametrize("step", [1, 3])
def test_a_small_run_that_is_stopped_half_way_writes_whole_steps(graph, unbroken, folder, monkeypatch, step):
    chain = Chain(graph, prompt_of(every=100))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_in_step(patch, graph.modules.pack("nodes.host.sampling.low_res").LowResRun, step, done=True)
        chain.low()
    same_trajectory(chain.low()[1], unbroken[1])


def test_no_number_in_the_large_run_keeps_the_last_good_state(graph, unbroken, folder):
    chain, model = Chain(graph, prompt_of(every=100)), graph.guider.model_patcher.model.diffusion_model
    calls = []
    spoil = model.register_forward_hook(
        lambda module, given, out: calls.append(1) or (out * float("nan") if len(calls) > 2 else out)
    )
    try:
        with pytest.raises(ValueError, match="step 3 of 3"):
            chain.high(unbroken[1])
    finally:
        spoil.remove()
    with Stopper(graph) as counted:
        assert torch.equal(counted.run(chain.high, unbroken[1]), unbroken[2])
        assert counted.calls == 1
