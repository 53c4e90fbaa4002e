"""A stopped run goes on where it was, to the bit, and never from the state of another."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from kept_chain import HIGH, LOW, Chain, prompt_of, same_trajectory, unbroken_chain
from stopped_model import Stopper
from tiny_wan import STEPS, SeededNoise

HIGH_STEPS = 3


@pytest.fixture
def folder(comfy_modules, monkeypatch, tmp_path):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path / "s2flow_unfinished"


@pytest.fixture
def chain(graph):
    return Chain(graph, prompt_of(every=1))


@pytest.fixture(scope="module")
def unbroken(graph):
    return unbroken_chain(graph)


@pytest.mark.parametrize("step", [1, 3, STEPS - 1])
def test_the_small_run_goes_on_to_the_bit_without_computing_a_step_twice(
    chain, unbroken, folder, step, caplog
):
    with Stopper(chain.graph) as model:
        model.stop(step, chain.low)
        (kept,) = folder.iterdir()
        assert kept.name.startswith("LowResSampler_")
        with caplog.at_level(logging.INFO):
            latent, trajectory = model.run(chain.low)
        assert model.calls == STEPS - step
    assert f"goes on after step {step} of {STEPS}" in caplog.text
    assert torch.equal(latent["samples"], unbroken[0])
    same_trajectory(trajectory, unbroken[1])


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"order": 2, "derivative": "history"}, {"skip_share": 0.34}])
def test_the_large_run_goes_on_to_the_bit(chain, unbroken, folder, step, settings):
    trajectory = unbroken[1]
    whole = Chain(chain.graph, prompt_of(every=0)).high(trajectory, **settings)
    with Stopper(chain.graph) as model:
        model.stop(step, chain.high, trajectory, **settings)
        assert torch.equal(model.run(chain.high, trajectory, **settings), whole)
    assert not folder.exists()  # nothing is left of a run that ended well


def test_a_finished_small_run_waits_for_its_large_one(chain, unbroken, folder):
    with Stopper(chain.graph) as model:
        trajectory = model.run(chain.low)[1]
        assert len(list(folder.iterdir())) == 1
        model.stop(1, chain.high, trajectory)
        assert len(list(folder.iterdir())) == 2
        latent, again = model.run(chain.low)
        assert model.calls == 0
        assert torch.equal(latent["samples"], unbroken[0])
        same_trajectory(again, unbroken[1])
        assert torch.equal(chain.high(again), unbroken[2])
    assert not folder.exists()


def test_a_small_run_that_nobody_waits_for_leaves_nothing(graph, folder):
    for prompt in ({LOW: prompt_of(1)[LOW]}, prompt_of(every=1, high_every=0)):
        Chain(graph, prompt).low()
        assert not folder.exists()


def test_every_kth_step_is_written(graph, folder, monkeypatch):
    kept_run = graph.modules.pack("nodes.host.resume.kept_run")
    written = []
    monkeypatch.setattr(kept_run, "save_run_state", lambda path, state, run: written.append(state.position))
    Chain(graph, prompt_of(every=2, high_every=0)).low()
    assert written == [2, 4]


def changed(chain, **changes):
    """Other runs than the chain's: (name, what runs them)."""
    graph = chain.graph
    louder = replace(graph, guider=Chain(graph, {}).graph.guider.__class__(graph.guider.model_patcher))
    louder.guider.original_conds, louder.guider.cfg = graph.guider.original_conds, 4.0
    patcher = graph.guider.model_patcher.clone()
    key = "diffusion_model.blocks.0.self_attn.q.weight"
    patcher.add_patches({key: ("diff", (torch.ones(256, 256) * 0.01,))}, 1.0)
    patched = replace(graph, guider=graph.guider.__class__(patcher))
    patched.guider.original_conds, patched.guider.cfg = graph.guider.original_conds, graph.guider.cfg
    return {
        "seed of the prompt": (Chain(graph, prompt_of(1, seed=4)), {"noise": SeededNoise(3)}),
        "noise": (chain, {"noise": SeededNoise(5)}),
        "sigmas": (chain, {"sigmas": graph.sigmas * torch.tensor([0.99] * STEPS + [1.0])}),
        "latent": (chain, {"latent_image": {"samples": torch.ones(1, 16, 3, 8, 8)}}),
        "cfg": (Chain(louder, chain.prompt), {}),
        "weights": (Chain(patched, chain.prompt), {}),
        "rows": (chain, {"capture_rows": 100}),
    }


@pytest.mark.parametrize(
    "difference", ["seed of the prompt", "noise", "sigmas", "latent", "cfg", "weights", "rows"]
)
def test_the_state_of_another_run_is_never_taken(chain, folder, difference):
    with Stopper(chain.graph) as model:
        model.stop(3, chain.low)
        other, changes = changed(chain)[difference]
        model.run(other.low, **changes)
        assert model.calls == STEPS
        # And the first run's state is still there for it.
        model.run(chain.low)
        assert model.calls == STEPS - 3


def test_what_changes_no_video_does_not_lose_the_run(chain, unbroken, folder):
    """The backend may be the reason why it stopped, and k may be moved."""
    with Stopper(chain.graph) as model:
        model.stop(2, chain.high, unbroken[1])
        other = Chain(chain.graph, prompt_of(every=2))
        other.prompt[HIGH]["inputs"]["backend"] = "dense"
        model.run(other.high, unbroken[1], backend="dense")
        assert model.calls == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "x", "position", "run"])
def test_a_damaged_state_is_told_and_the_run_starts_anew(chain, unbroken, folder, damage, caplog):
    with Stopper(chain.graph) as model:
        model.stop(3, chain.low)
        (kept,) = folder.iterdir()
        damage_file(chain, kept, damage)
        if damage == "x":  # another shape under the right name: refused before a step, the file stays
            with pytest.raises(ValueError, match=r"does not fit it.*resume_every to 0"):
                model.run(chain.low)
            return
        latent, _ = model.run(chain.low)
        assert model.calls == STEPS
    assert "starts this run anew" in caplog.text
    assert torch.equal(latent["samples"], unbroken[0])


def damage_file(chain, path, damage):
    pack = chain.graph.modules.pack
    states, files = pack("s2flow_core.files.run_state"), pack("s2flow_core.files.checked_tensors")
    data = path.read_bytes()
    if damage in ("cut", "empty", "text"):
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"not a run at all"}[damage])
        return
    run = files.read_header(path).metadata["run"]
    state = states.load_run_state(path, run, STEPS)
    if damage == "x":
        state = replace(state, tensors=dict(state.tensors) | {"x": torch.zeros(1, 2)})
    elif damage == "position":
        state = replace(state, position=STEPS + 4)
    states.save_run_state(path, state, "another" if damage == "run" else run)


def test_a_disk_that_cannot_be_written_costs_no_video(chain, unbroken, folder, monkeypatch, caplog):
    kept_run = chain.graph.modules.pack("nodes.host.resume.kept_run")

    def full(*_):
        raise kept_run.NotWritten("the drive is full")

    monkeypatch.setattr(kept_run, "save_run_state", full)
    latent, _ = chain.low()
    assert torch.equal(latent["samples"], unbroken[0])
    assert caplog.text.count("cannot keep this run, which goes on without: the drive is full") == 1


def test_no_number_keeps_the_last_good_state(chain, unbroken, folder):
    model = chain.graph.guider.model_patcher.model.diffusion_model
    calls = []
    spoil = model.register_forward_hook(
        lambda module, given, out: calls.append(1) or (out * float("nan") if len(calls) > 3 else out)
    )
    try:
        with pytest.raises(ValueError, match="step 4 of 6"):
            Chain(chain.graph, prompt_of(every=100)).low()
    finally:
        spoil.remove()
    with Stopper(chain.graph) as model:
        latent, _ = model.run(chain.low)
        assert model.calls == STEPS - 3
    assert torch.equal(latent["samples"], unbroken[0])


@pytest.mark.parametrize("mode", ["flow_map", "flashvideo", "renoise"])
def test_the_refiner_goes_on_to_the_bit(graph, unbroken, folder, mode):
    def refined(every):
        return graph.run(
            "S2FlowRefinerSampler",
            guider=graph.guider,
            latent={"samples": unbroken[1].final},
            mode=mode,
            steps=4,
            window=2,
            resume_every=every,
        )[0]["samples"]

    whole = refined(0)
    with Stopper(graph) as model:
        model.stop(2, refined, 1)
        assert torch.equal(model.run(refined, 1), whole)
        assert model.calls == 2
    assert not folder.exists()


@pytest.mark.parametrize("step", [1, 2, 4])
def test_two_experts_go_on_with_the_one_whose_turn_it_is(graph, folder, step):
    boundary = float(graph.sigmas[3])
    given = {"guider_low_noise": graph.guider, "boundary": boundary}
    latent, whole = Chain(graph, prompt_of(every=0)).low(**given)
    chain = Chain(graph, prompt_of(every=1))
    with Stopper(graph) as model:
        model.stop(step, chain.low, **given)
        again, trajectory = model.run(chain.low, **given)
        assert model.calls == STEPS - step
    assert torch.equal(again["samples"], latent["samples"])
    same_trajectory(trajectory, whole)
