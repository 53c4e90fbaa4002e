"""Which step, layer and condition a call belongs to, however a guider or another node runs the model."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_variant import variant_graph
from tiny_wan import STEPS, wan_graph
from tiny_wan_variants import SETTINGS, WAN_VARIANTS

LAYERS = SETTINGS["num_layers"]


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    return trajectory, triple, windows, graph.high_res(triple, windows=windows)


@pytest.fixture(scope="module")
def positive_reach(comfy_modules):
    """What the heads see in the first step of the positive condition alone."""
    return first_step(wan_graph(comfy_modules, guidance=1.0).low_res()[1])


def first_step(trajectory: Any) -> torch.Tensor:
    return trajectory.reach.mass[0].float()


def conditions(graph: Any) -> dict[str, Any]:
    """The guider's texts as CONDITIONING, and a third one."""
    texts = {name: conds[0]["cross_attn"] for name, conds in graph.guider.original_conds.items()}
    texts["empty"] = torch.zeros_like(texts["negative"])
    return {name: [[text, {}]] for name, text in texts.items()}


def with_options(guider: Any, **options: Any) -> Any:
    changed = copy.copy(guider)
    changed.model_options = guider.model_options | options
    return changed


def one_condition_at_a_time(order: tuple[int, int]) -> dict[str, Any]:
    """Model options under which each condition runs by itself, always first of its own call."""
    import comfy.samplers

    def calc_cond_batch(args: dict) -> list[torch.Tensor]:
        rest = {k: v for k, v in args["model_options"].items() if not k.startswith("sampler_calc")}
        out = [torch.zeros(()), torch.zeros(())]
        for index in order:
            given = [args["conds"][index]]
            out[index] = comfy.samplers.calc_cond_batch(
                args["model"], given, args["input"], args["sigma"], rest
            )[0]
        return out

    return {"sampler_calc_cond_batch_function": calc_cond_batch}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_conditions_apart_give_what_they_give_together(graph, record, order):
    trajectory, triple, windows, expected = record
    guider = with_options(graph.guider, **one_condition_at_a_time(order))
    apart = graph.low_res(guider=guider)[1]
    assert torch.allclose(apart.reach.mass.float(), trajectory.reach.mass.float(), atol=2e-3)
    result = graph.high_res(triple, guider=guider, windows=windows)
    assert torch.allclose(result, expected, atol=1e-4)


def little_memory(_device: Any = None, torch_free_too: bool = False) -> Any:
    return (2**24, 2**24) if torch_free_too else 0


def test_little_memory_splits_the_batch_and_changes_nothing(graph, record, monkeypatch):
    import comfy.model_management

    trajectory, triple, windows, expected = record
    monkeypatch.setattr(comfy.model_management, "get_free_memory", little_memory)
    split = graph.low_res()[1]
    assert torch.allclose(split.reach.mass.float(), trajectory.reach.mass.float(), atol=2e-3)
    assert torch.allclose(graph.high_res(triple, windows=windows), expected, atol=1e-4)


def perp_neg(graph: Any) -> Any:
    texts = conditions(graph)
    node = graph.modules.node("PerpNegGuider")
    patcher = graph.guider.model_patcher
    return node.execute(patcher, texts["positive"], texts["negative"], texts["empty"], 3.0, 1.0).args[0]


def dual_cfg(graph: Any) -> Any:
    """This guider gives the positive condition the last place."""
    texts = conditions(graph)
    node = graph.modules.node("DualCFGGuider")
    patcher = graph.guider.model_patcher
    given = (texts["positive"], texts["empty"], texts["negative"], 3.0, 2.0, "regular")
    return node.execute(patcher, *given).args[0]


def skip_layer(graph: Any) -> Any:
    """A third pass per step that leaves out the first block."""
    node = graph.modules.node("SkipLayerGuidanceDiT")
    given = {"scale": 3.0, "start_percent": 0.0, "end_percent": 1.0}
    model = node.execute(graph.guider.model_patcher, **given, double_layers="0", single_layers="").args[0]
    return wan_graph(graph.modules, model=model).guider


def skip_layer_without_positive_first(graph: Any) -> Any:
    """The negative pass leaves out the first block."""
    node = graph.modules.node("SkipLayerGuidanceDiTSimple")
    given = {"start_percent": 0.0, "end_percent": 1.0, "double_layers": "0", "single_layers": ""}
    model = node.execute(graph.guider.model_patcher, **given).args[0]
    return wan_graph(graph.modules, model=model).guider


@pytest.mark.parametrize("make", [perp_neg, dual_cfg, skip_layer, skip_layer_without_positive_first])
def test_guiders_with_more_branches(graph, record, positive_reach, make, caplog):
    guider = make(graph)
    with caplog.at_level("WARNING"):
        _, trajectory = graph.low_res(guider=guider)
        triple = graph.upsample(trajectory)
        windows = graph.windows(trajectory, triple[0], s=0.5)
        result = graph.high_res(triple, guider=guider, windows=windows)
        whole = graph.windows(trajectory, triple[0], s=1.0)
        dense = graph.high_res(triple, guider=guider)
        seen = graph.high_res(triple, guider=guider, windows=whole, backend="torch_boxes")
    assert torch.allclose(first_step(trajectory), positive_reach, atol=2e-3)
    assert torch.isfinite(result).all()
    assert torch.allclose(seen, dense, atol=1e-3)
    assert not [r for r in caplog.records if "leaves attention unchanged" in r.message]


@pytest.fixture
def windowed_layers(graph, monkeypatch):
    """The layers of all windowed calls, in running order."""
    hook = graph.modules.pack("nodes.host.attention.windows").WindowedAttention
    attend, layers = hook.attend, []
    monkeypatch.setattr(hook, "attend", lambda self, call: layers.append(call.layer) or attend(self, call))
    return layers


def test_a_block_left_out_does_not_shift_the_others(graph, record, windowed_layers):
    """Skip-layer guidance drops layer 0; what runs then is layer 1 and must get layer 1's windows."""
    graph.high_res(record[1], guider=skip_layer(graph), windows=record[2])
    steps = len(record[1][1]) - 1
    assert windowed_layers.count(1) == windowed_layers.count(0) + steps


def test_two_control_videos_share_the_layers_of_the_control_stack(comfy_modules, tmp_path, windowed_layers):
    from dataclasses import replace

    from tiny_wan_variants import two_control_videos

    vace = next(variant for variant in WAN_VARIANTS if variant.name == "wan21_vace")
    vace = replace(vace, conditions=two_control_videos, guidance=1.0)
    graph = variant_graph(comfy_modules, vace, vace.load(tmp_path))
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windowed_layers.clear()
    graph.high_res(triple, windows=graph.windows(trajectory, triple[0], s=0.5))
    assert windowed_layers == [0, 2, 2, 1] * (len(triple[1]) - 1)


def test_a_batch_of_two_is_windowed_in_every_layer(graph, windowed_layers):
    _, trajectory = graph.low_res(latent_image={"samples": torch.zeros(2, 16, 3, 8, 8)})
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    windowed_layers.clear()
    assert torch.isfinite(graph.high_res(triple, windows=windows)).all()
    assert set(windowed_layers) == set(range(LAYERS))


def test_two_models_in_one_graph_do_not_see_each_other(comfy_modules, graph, record):
    _, triple, windows, expected = record
    other = wan_graph(comfy_modules, guidance=1.0, model=larger_model(comfy_modules))
    _, other_trajectory = other.low_res()
    other_windows = other.windows(other_trajectory, triple[0], s=0.25)
    first = other.high_res(triple, windows=other_windows)
    assert torch.equal(graph.high_res(triple, windows=windows), expected)
    assert torch.equal(other.high_res(triple, windows=other_windows), first)
    with pytest.raises(ValueError, match="made for a model with 2 layers"):
        other.high_res(triple, windows=windows)


def larger_model(comfy_modules):
    import comfy.sd
    from tiny_wan import random_wan_weights

    weights = random_wan_weights(comfy_modules.pack)
    deeper = weights | {
        name.replace("blocks.1.", "blocks.2."): value
        for name, value in weights.items()
        if "blocks.1." in name
    }
    return comfy.sd.load_diffusion_model_state_dict(deeper)


def test_several_high_res_passes_in_one_graph(graph, record):
    """A second pass on top of the first one's size, and the first again: each with windows of its own."""
    trajectory, triple, windows, expected = record
    larger = graph.upsample(trajectory, scale=3.0, t_i=2)
    larger_windows = graph.windows(trajectory, larger[0], s=0.5)
    assert torch.isfinite(graph.high_res(larger, windows=larger_windows)).all()
    assert torch.equal(graph.high_res(triple, windows=windows), expected)


def test_steps_that_a_cache_leaves_out_borrow_a_record(graph, caplog):
    """Core's EasyCache answers some steps without the model."""
    node = graph.modules.node("EasyCache")
    given = {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
    model = node.execute(graph.guider.model_patcher, **given).args[0]
    cached = wan_graph(graph.modules, model=model)
    calls = model_calls(graph.guider.model_patcher)
    with calls as counted, caplog.at_level("WARNING"):
        _, trajectory = cached.low_res()
    assert 0 < len(counted) < STEPS
    assert trajectory.reach.steps == STEPS
    assert not [r for r in caplog.records if "leaves attention unchanged" in r.message]
    triple = cached.upsample(trajectory)
    with calls as counted:
        dense = cached.high_res(triple)
    assert 0 < len(counted) < len(triple[1]) - 1
    with calls as again:
        whole = cached.windows(trajectory, triple[0], s=1.0)
        windowed = cached.high_res(triple, windows=whole, backend="torch_boxes")
    assert len(again) == len(counted)
    assert torch.allclose(windowed, dense, atol=1e-4)
    half = cached.high_res(
        triple, windows=cached.windows(trajectory, triple[0], s=0.5), backend="torch_boxes"
    )
    assert (half - dense).abs().max() > 1e-3


class model_calls:
    """Counts the forward passes of a patcher's diffusion model while it is entered."""

    def __init__(self, patcher: Any):
        self.block = patcher.model.diffusion_model.head

    def __enter__(self) -> list:
        calls: list = []
        self.handle = self.block.register_forward_hook(lambda *_: calls.append(1))
        return calls

    def __exit__(self, *_: Any) -> None:
        self.handle.remove()
