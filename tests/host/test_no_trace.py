"""After a run nothing is left of it, whatever its ending; so no run sees another."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import random_wan_weights, wan_graph


@pytest.fixture(scope="module")
def other_expert(comfy_modules):
    import comfy.sd

    weights = random_wan_weights(comfy_modules.pack)
    other = {name: value.flip(0) if "ffn" in name else value for name, value in weights.items()}
    return wan_graph(comfy_modules, model=comfy.sd.load_diffusion_model_state_dict(other))


@pytest.fixture(scope="module")
def hunyuan(comfy_modules, tmp_path_factory):
    variant = HUNYUAN_VARIANTS[0]
    return variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))


def recorded(graph: Any) -> Any:
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory, t_i=4)
    return trajectory, triple, graph.windows(trajectory, triple[0], s=0.5)


@pytest.fixture(scope="module")
def record(graph):
    return recorded(graph)


@pytest.fixture(scope="module")
def hunyuan_record(hunyuan):
    return recorded(hunyuan)


def everything_of(guider):
    """What a run could leave behind: the options, the patcher, the modules of the model and their hooks."""
    patcher = guider.model_patcher
    model = patcher.model
    modules = {
        name: (id(module), sorted(vars(module)), sorted(module._modules), len(module._forward_hooks))
        for name, module in model.named_modules()
    }
    return {
        "guider": {name: id(value) for name, value in vars(guider).items()},
        "options": copy.deepcopy(guider.model_options),
        "patcher options": copy.deepcopy(patcher.model_options),
        "patches": (dict(patcher.patches), dict(patcher.object_patches), dict(patcher.object_patches_backup)),
        "wrappers": copy.deepcopy((patcher.wrappers, patcher.callbacks, patcher.injections)),
        "modules": modules,
    }


def stops(error):
    """A sampling callback that ends the run in its second step, as the Cancel button does."""
    steps = []

    def callback(*_):
        steps.append(1)
        if len(steps) == 2:
            raise error

    return callback


def low(graph: Any, record: Any, other: Any) -> Any:
    return graph.low_res()[0]["samples"]


def dense(graph: Any, record: Any, other: Any) -> Any:
    return graph.high_res(record[1])


def windowed(graph: Any, record: Any, other: Any) -> Any:
    settings = {"trajectory": record[0], "order": 3, "derivative": "blend"}
    return graph.high_res(record[1], windows=record[2], backend="torch_boxes", **settings)


def adapted(graph: Any, record: Any, other: Any) -> Any:
    """Rotary positions and temperature for the larger size."""
    settings = {"trajectory": record[0], "rope": "ntk", "attention_temperature": True}
    return graph.high_res(record[1], windows=record[2], **settings)


def experts(graph: Any, record: Any, other: Any) -> Any:
    """The second of four steps is the last one of the first model."""
    settings = {"guider_low_noise": other.guider, "boundary": float(record[1][1][1])}
    return graph.high_res(record[1], windows=record[2], backend="torch_boxes", **settings)


@pytest.mark.parametrize("ending", ["success", "error", "cancel"])
@pytest.mark.parametrize("run", [low, windowed, adapted, experts], ids=lambda run: run.__name__)
def test_wan_is_what_it_was_whatever_the_ending(graph, record, other_expert, monkeypatch, run, ending):
    unchanged_by(graph, record, other_expert, monkeypatch, run, ending)


@pytest.mark.parametrize("ending", ["success", "error", "cancel"])
@pytest.mark.parametrize("run", [low, windowed, adapted], ids=lambda run: run.__name__)
def test_hunyuan_is_what_it_was_whatever_the_ending(hunyuan, hunyuan_record, monkeypatch, run, ending):
    unchanged_by(hunyuan, hunyuan_record, hunyuan, monkeypatch, run, ending)


def unchanged_by(graph: Any, record: Any, other: Any, monkeypatch: Any, run: Any, ending: str) -> None:
    """Runs to one of three endings; what it leaves must be what there was."""
    import comfy.model_management
    import latent_preview

    guiders = {id(given): given for given in (guider_of(graph), graph.guider, other.guider)}
    dense(other, record, graph)  # ComfyUI itself marks a model that it loads for the first time
    before_it = dense(graph, record, other)
    before = {name: everything_of(guider) for name, guider in guiders.items()}
    error = {
        "success": None,
        "error": RuntimeError("out of memory"),
        "cancel": comfy.model_management.InterruptProcessingException(),
    }[ending]
    if error is None:
        run(graph, record, other)
    else:
        monkeypatch.setattr(latent_preview, "prepare_callback", lambda *_, **__: stops(error))
        with pytest.raises(type(error)):
            run(graph, record, other)
    for name, guider in guiders.items():
        after = everything_of(guider)
        kept = before[name]["guider"].keys()
        assert {key: after["guider"].get(key) for key in kept} == before[name]["guider"]
        for part in ("options", "patcher options", "patches", "wrappers", "modules"):
            assert after[part] == before[name][part], part
    monkeypatch.undo()
    assert torch.equal(dense(graph, record, other), before_it)


def guider_of(graph: Any) -> Any:
    """The one of the HR run."""
    return getattr(graph, "large_guider", graph.guider)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_ending_inside_the_model_leaves_nothing_either(graph, record, monkeypatch, kind):
    """Out of memory comes from within a block, when all hooks are in their places."""
    network = graph.guider.model_patcher.model.diffusion_model
    before = everything_of(graph.guider)

    def broken(*_: Any) -> None:
        raise kind("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(network.blocks[1].ffn, "forward", broken)
        with pytest.raises(kind, match="in the middle"):
            adapted(graph, record, graph)
    vars(network.blocks[1].ffn).pop("forward", None)
    assert everything_of(graph.guider)["modules"] == before["modules"]
    assert everything_of(graph.guider)["options"] == before["options"]


def test_what_others_write_into_the_options_during_a_pass_is_there_after_it(graph, record):
    """Later versions of Wan publish their grid and block there, and packs pass notes to each other."""
    import comfy.patcher_extension

    notes, left = [], []

    def outside(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = next(value for value in args if isinstance(value, dict))
        before = dict(options)
        out = executor(*args, **kwargs)
        notes.append(options.get("note of another pack"))
        left.append({key for key in options if options[key] is not before.get(key)})
        return out

    def inside(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = next(value for value in args if isinstance(value, dict))
        options["note of another pack"] = len(notes)
        return executor(*args, **kwargs)

    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    neighbour = graph.guider.model_patcher.clone()
    neighbour.add_wrapper_with_key(kind, "inside", inside)  # behind ours, which the run's own options hold
    guider = copy.copy(wan_graph(graph.modules, model=neighbour).guider)
    guider.model_options = {"transformer_options": {}}
    comfy.patcher_extension.add_wrapper_with_key(
        kind, "outside", outside, guider.model_options, is_model_options=True
    )
    graph.high_res(record[1], guider=guider)
    without_us = list(left)
    assert "note of another pack" in without_us[0]
    notes.clear()
    left.clear()
    graph.high_res(record[1], guider=guider, windows=record[2])
    assert notes == list(range(len(notes))) and notes
    assert left == without_us


def test_a_cached_model_begins_every_run_anew(graph, record, caplog):
    """ComfyUI keeps the MODEL of Apply Windows from prompt to prompt, and with it the hook."""
    (model,) = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=record[2])
    cached = wan_graph(graph.modules, model=model).guider
    larger = graph.upsample(record[0], scale=3.0, t_i=2)
    told = []
    for triple in (larger, record[1], larger):
        caplog.clear()
        with caplog.at_level("INFO"):
            graph.high_res(triple, guider=cached)
        text = caplog.text
        density = [m.partition("density ")[2][:5] for m in caplog.messages if "attention density" in m]
        told.append((text.count("leaves attention unchanged"), text.count("in the first step"), density))
    assert told[0] == told[2] == (1, 1, ["1.000"])
    assert told[1] == (0, 0, told[1][2])
    assert len(told[1][2]) == 1


def test_prompts_in_one_process_do_not_see_each_other(graph, other_expert, hunyuan, record, hunyuan_record):
    """One after the other, and one in the middle of the other.

    ComfyUI runs one prompt at a time, and cannot sample with one model inside a run of the same model.
    """
    import latent_preview

    alone = windowed(graph, record, graph), windowed(hunyuan, hunyuan_record, hunyuan)
    assert torch.equal(windowed(graph, record, graph), alone[0])
    inner = []

    def prepare(*_: Any, **__: Any) -> Any:
        def callback(step: int, *_: Any) -> None:
            if step == 1 and not inner:
                inner.append(None)
                inner[0] = windowed(hunyuan, hunyuan_record, hunyuan)
                inner.append(adapted(other_expert, record, graph))

        return callback

    expected = adapted(other_expert, record, graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent_preview, "prepare_callback", prepare)
        outer = windowed(graph, record, graph)
    assert torch.equal(outer, alone[0])
    assert torch.equal(inner[0], alone[1])
    assert torch.equal(inner[1], expected)


def test_a_clone_of_a_model_with_windows_holds_no_second_network(graph, record):
    import comfy.patcher_extension as extension

    patched = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=record[2])[0]
    hooks = set()
    for model in (patched, patched.clone(), copy.deepcopy(patched.model_options)):
        options = model if isinstance(model, dict) else model.model_options
        kind = extension.WrappersMP.DIFFUSION_MODEL
        for wrapper in extension.get_all_wrappers(kind, options, is_model_options=True):
            hooks.add((id(wrapper.__self__), id(wrapper.__self__.model)))
    assert {network for _, network in hooks} == {id(patched.model.diffusion_model)}
    assert len(hooks) == 1
