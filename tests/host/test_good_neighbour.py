"""The hooks live with those of other packs."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_wan import LAYERS, wan_graph


def override_of_another_pack(calls, below=None):
    """Chains what it finds, as a good neighbour does."""

    def override(original, *args, **kwargs):
        calls.append((args[0].shape, args[1].shape))
        return below(original, *args, **kwargs) if below else original(*args, **kwargs)

    return override


def test_an_override_installed_after_ours_still_runs(graph, record):
    """Apply Windows first, then another pack's node that chains the override it finds in the model."""
    (model,) = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=record[2])
    calls = []
    neighbour = model.clone()
    options = neighbour.model_options["transformer_options"]
    found = options.get("optimized_attention_override")
    options["optimized_attention_override"] = override_of_another_pack(calls, found)
    result = graph.high_res(record[1], guider=wan_graph(graph.modules, model=neighbour).guider)
    assert calls
    assert torch.equal(result, graph.high_res(record[1], windows=record[2]))


def test_an_override_set_while_the_model_runs_still_runs(graph, record):
    """Packs also set it in a wrapper of their own, at the last moment."""
    import comfy.patcher_extension

    calls = []

    def wrapper(executor, *args, **kwargs):
        args = list(args)
        place = next(i for i, value in enumerate(args) if isinstance(value, dict))
        found = args[place].get("optimized_attention_override")
        args[place] = args[place] | {"optimized_attention_override": override_of_another_pack(calls, found)}
        return executor(*args, **kwargs)

    neighbour = graph.guider.model_patcher.clone()
    neighbour.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "another pack", wrapper
    )
    guider = wan_graph(graph.modules, model=neighbour).guider
    result = graph.high_res(record[1], guider=guider, windows=record[2])
    assert calls
    assert torch.equal(result, graph.high_res(record[1], windows=record[2]))


def test_other_packs_find_the_models_arguments_where_they_were(graph, record):
    """EasyCache, for one, looks for the transformer options by counting from the end."""
    import comfy.patcher_extension

    seen = []

    def wrapper(executor, *args, **kwargs):
        seen.append(([type(value) for value in args], {name: type(kwargs[name]) for name in sorted(kwargs)}))
        return executor(*args, **kwargs)

    neighbour = graph.guider.model_patcher.clone()
    neighbour.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "another pack", wrapper
    )
    guider = wan_graph(graph.modules, model=neighbour).guider
    graph.high_res(record[1], guider=guider)
    without = list(seen)
    seen.clear()
    graph.high_res(record[1], guider=guider, windows=record[2])
    assert seen == without != []


def test_block_patches_of_another_pack_still_run(graph, record):
    seen = []

    def patch(args, extra):
        seen.append(1)
        out = extra["original_block"](args)
        return out | {"img": out["img"].sin()}

    neighbour = graph.guider.model_patcher.clone()
    neighbour.set_model_patch_replace(patch, "dit", "double_block", 1)
    guider = wan_graph(graph.modules, model=neighbour).guider
    dense = graph.high_res(record[1], guider=guider)
    calls = len(seen)
    whole = graph.windows(record[0], record[1][0], s=1.0)
    windowed = graph.high_res(record[1], guider=guider, windows=whole, backend="torch_boxes")
    assert len(seen) == 2 * calls > 0
    assert torch.allclose(windowed, dense, atol=1e-4)
    assert not torch.allclose(windowed, graph.high_res(record[1]), atol=1e-4)


def test_an_override_installed_before_ours_still_runs(graph, record):
    calls = []
    neighbour = copy.copy(graph.guider)
    neighbour.model_options = {
        "transformer_options": {"optimized_attention_override": override_of_another_pack(calls)}
    }
    with_both = graph.high_res(record[1], guider=neighbour, windows=record[2])
    # A small call costs less dense than windowed, so `auto` leaves even the self-attention to it.
    calls_below = LAYERS * (len(record[1][1]) - 1)
    assert sum(q == k for q, k in calls) == sum(q != k for q, k in calls) == calls_below
    assert torch.equal(with_both, graph.high_res(record[1], windows=record[2]))

    calls.clear()
    graph.high_res(record[1], guider=neighbour, windows=record[2], backend="torch_boxes")
    assert sum(q == k for q, k in calls) == 0
    assert sum(q != k for q, k in calls) == calls_below

    calls.clear()
    latent, _ = graph.low_res(guider=neighbour)
    assert calls
    assert torch.equal(latent["samples"], graph.low_res()[0]["samples"])


def test_an_unknown_model_is_refused_by_name(graph, record, monkeypatch):
    facts = graph.modules.pack("nodes.host.model.checks")
    monkeypatch.setattr(facts, "family_of", lambda model: None)
    with pytest.raises(ValueError, match=r"does not know where WanModel keeps its video tokens"):
        graph.high_res(record[1], windows=record[2])


def test_a_mask_that_windows_cannot_obey_falls_back_and_says_so_once(graph, record, caplog):
    hook_module = graph.modules.pack("nodes.host.attention.windows")
    layout = graph.modules.pack("nodes.host.families")
    hook = hook_module.WindowedAttention(layout.FAMILIES[0], None, record[2])
    hook_call = graph.modules.pack("nodes.host.attention.call").SelfAttentionCall
    q = torch.randn(1, 2, 192, 64)
    mask = torch.zeros(192, 192).tril()
    call = hook_call(
        q, q, q, mask, 0, layout.TokenLayout(0, (3, 8, 8)), float(record[2].sigmas[0]), slice(0, 1)
    )
    with caplog.at_level("WARNING"):
        assert hook.attend(call) is None
        assert hook.attend(call) is None
    assert len([r for r in caplog.records if "leaves attention unchanged" in r.message]) == 1
