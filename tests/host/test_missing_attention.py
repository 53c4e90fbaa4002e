"""Attention that does not arrive where it should: said before sampling where it shows, and else loudly."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import wan_graph

# What a pack that computes attention by itself has in its source: no word of ComfyUI's attention function.
CLOSED = """
import functools, math, torch
def forward(self, x, freqs=None, *_, **__):
    parts = (part(x).unflatten(-1, (self.num_heads, -1)) for part in (self.q, self.k, self.v))
    q, k, v = (x.transpose(1, 2) for x in parts)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return self.o(out.transpose(1, 2).flatten(2))
def block(self, img, txt, *_, **__):
    return img, txt
"""


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A module of another pack that the look at the code finds out."""
    folder = tmp_path_factory.mktemp("pack")
    (folder / "another_pack.py").write_text(CLOSED, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("another_pack")
    sys.path.remove(str(folder))
    del sys.modules["another_pack"]


def patched(graph: Any, function: Any, blocks: Any, name: str = "self_attn") -> Any:
    """A graph whose model has object patches on the forward of some blocks' attention, as packs set them."""
    model = graph.guider.model_patcher.clone()
    for i in blocks:
        path = f"diffusion_model.blocks.{i}.{name}"
        bound = functools.partial(function, model.get_model_object(path))
        model.add_object_patch(f"{path}.forward", bound)
    return wan_graph(graph.modules, model=model)


@pytest.mark.parametrize("blocks", [(0, 1), (1,)], ids=["all", "last"])
def test_a_patched_forward_is_seen_before_sampling(graph, record, closed, blocks, monkeypatch):
    other = patched(graph, closed.forward, blocks)

    def called(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was called before the input was checked")

    monkeypatch.setattr(type(graph.guider), "predict_noise", called)
    says = r"attention of this wan model is computed by another_pack\.forward, which does not use"
    with pytest.raises(ValueError, match=says):
        other.low_res()
    with pytest.raises(ValueError, match=says):
        other.high_res(record[1], windows=record[2])
    with pytest.raises(ValueError, match=says):
        other.high_res(record[1], trajectory=record[0], attention_temperature=True)
    with pytest.raises(ValueError, match=says):
        other.run("S2FlowApplyWindows", model=other.guider.model_patcher, windows=record[2])


def test_a_patched_block_is_seen_before_sampling(comfy_modules, closed, tmp_path):
    variant = HUNYUAN_VARIANTS[0]
    model = variant.load(tmp_path)
    model.add_object_patch("diffusion_model.single_blocks.1.forward", closed.block)
    with pytest.raises(ValueError, match=r"hunyuan_video model is computed by another_pack\.block"):
        variant_graph(comfy_modules, variant, model).low_res()


def through(original: Any) -> Any:
    """A patch that looks at the input and runs what was there, as packs for video enhancement do."""

    def forward(_: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return original(x, *args, **kwargs) * 1.0

    return forward


def test_a_patch_that_runs_the_original_is_no_obstacle(graph, record):
    model = graph.guider.model_patcher.clone()
    for i in range(2):
        path = f"diffusion_model.blocks.{i}.self_attn"
        attention = model.get_model_object(path)
        forward = through(attention.forward)
        forward.__module__ = "another_pack"
        model.add_object_patch(f"{path}.forward", functools.partial(forward, attention))
    other = wan_graph(graph.modules, model=model)
    assert torch.equal(other.low_res()[1].reach.mass, record[0].reach.mass)
    windowed = other.high_res(record[1], windows=record[2])
    assert torch.equal(windowed, graph.high_res(record[1], windows=record[2]))


def compiled_away(graph: Any, closed: Any, blocks: Any) -> Any:
    """The same patches where no look at the code helps: a callable object without Python code of its own."""
    model = graph.guider.model_patcher.clone()
    for i in blocks:
        path = f"diffusion_model.blocks.{i}.self_attn"
        attention = model.get_model_object(path)
        call = functools.partial(closed.forward, attention)
        hidden = type("Hidden", (), {"__call__": functools.partial(call), "__module__": "another_pack"})()
        model.add_object_patch(f"{path}.forward", hidden)
    return wan_graph(graph.modules, model=model)


def model_calls(graph: Any, monkeypatch: Any) -> list:
    calls: list = []
    predict = type(graph.guider).predict_noise

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        calls.append(1)
        return predict(self, *given, **named)

    monkeypatch.setattr(type(graph.guider), "predict_noise", counted)
    return calls


def warnings_of(caplog: Any) -> list[str]:
    return [r.getMessage() for r in caplog.records if "in the first step" in r.getMessage()]


def test_low_res_ends_after_one_step_if_nothing_is_measured(graph, closed, monkeypatch, caplog):
    """The block's first call is then the cross-attention, which must not be taken for the self-attention."""
    other = compiled_away(graph, closed, (0, 1))
    steps = model_calls(graph, monkeypatch)
    with caplog.at_level("WARNING"), pytest.raises(ValueError, match=r"never reaches.*Set capture_rows to 0"):
        other.low_res()
    assert len(steps) == 1
    assert not [r for r in caplog.records if "leaves attention unchanged" in r.message]


def test_low_res_ends_after_one_step_whatever_the_reason(graph, monkeypatch):
    module = graph.modules.pack("nodes.host.attention.capture")

    def refuse(*_: Any, **__: Any) -> None:
        raise module.WindowsNotApplicable("the mask differs between queries")

    monkeypatch.setattr(module, "measure_head_sums", refuse)
    steps = model_calls(graph, monkeypatch)
    with pytest.raises(
        ValueError, match=r"wan model looks: the mask differs between queries\. Set capture_rows"
    ):
        graph.low_res()
    assert len(steps) == 1


@pytest.mark.parametrize(("blocks", "count"), [((0, 1), "0 of 2"), ((1,), "1 of 2")])
def test_high_res_says_after_the_first_step_what_windows_did_not_reach(
    graph, record, closed, blocks, count, monkeypatch, caplog
):
    other = compiled_away(graph, closed, blocks)
    steps = model_calls(graph, monkeypatch)
    said_after = []
    log = graph.modules.pack("nodes.host.attention.run_record").log
    monkeypatch.setattr(log, "warning", lambda text, *given: said_after.append((len(steps), text % given)))
    dense = other.high_res(record[1])
    steps.clear()
    windowed = other.high_res(record[1], windows=record[2], backend="torch_boxes")
    assert len(said_after) == 1
    when, what = said_after[0]
    assert when == 2  # as soon as the second step begins
    assert f"windows reached {count} attention layers" in what
    assert "another node answers" in what
    assert torch.equal(windowed, dense) == (count == "0 of 2")


def test_temperature_scales_no_cross_attention_in_its_place(graph, record, closed, caplog):
    other = compiled_away(graph, closed, (0, 1))
    dense = other.high_res(record[1])
    with caplog.at_level("WARNING"):
        warm = other.high_res(record[1], trajectory=record[0], attention_temperature=True)
    assert torch.equal(warm, dense)
    assert len(warnings_of(caplog)) == 1
    assert "attention_temperature reached 0 of 2" in warnings_of(caplog)[0]


def greedy(original: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    """An override that overwrites what it finds instead of chaining it."""
    return original(q, *args, **kwargs)


def overwriting(model: Any) -> Any:
    """The model under a wrapper that puts its own override in the place of what it finds."""
    import comfy.patcher_extension

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(x | {"optimized_attention_override": greedy} if isinstance(x, dict) else x for x in args)
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "zzz", wrapper)
    return model


def test_an_override_that_overwrites_ours_is_noticed(graph, record, caplog):
    (model,) = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=record[2])
    guider = wan_graph(graph.modules, model=overwriting(model)).guider
    with caplog.at_level("INFO"):
        windowed = graph.high_res(record[1], guider=guider)
    assert torch.equal(windowed, graph.high_res(record[1]))
    assert len(warnings_of(caplog)) == 1 and "windows reached 0 of 2" in warnings_of(caplog)[0]


def test_windows_of_the_sampler_come_after_everything_in_the_model(graph, record, caplog):
    """They are put in when the model's wrappers are already there."""
    guider = wan_graph(graph.modules, model=overwriting(graph.guider.model_patcher)).guider
    given = {"windows": record[2], "backend": "torch_boxes"}
    assert torch.equal(graph.high_res(record[1], guider=guider, **given), graph.high_res(record[1], **given))
    assert not warnings_of(caplog)


def test_calls_that_fall_back_count_as_dense(graph, record, monkeypatch, caplog):
    """The windows of one layer cannot be applied; the other's are."""
    module = graph.modules.pack("nodes.host.attention.windows")
    real, calls = module.window_attention, []

    def every_other(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) % 2:
            raise module.WindowsNotApplicable("not this one")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "window_attention", every_other)
    with caplog.at_level("INFO"):
        graph.high_res(record[1], windows=record[2], backend="torch_boxes")
    windows = record[2]
    steps = [windows.step_at(float(sigma)) for sigma in record[1][1][:-1]]
    shares = graph.modules.pack("s2flow_core.attention.window_attention").count_visited_keys(
        windows.grid, windows.extents
    )
    of_layer = (shares.double() / windows.grid.tokens**2).mean(-1)  # (steps, layers)
    expected = sum((1 + float(of_layer[step, 1])) / 2 for step in steps) / len(steps)
    assert f"attention density {expected:.3f} achieved" in caplog.text
    assert "windows reached 1 of 2 attention layers in the first step" in caplog.text
    assert "not this one" in warnings_of(caplog)[0]
