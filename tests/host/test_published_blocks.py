"""What models publish about themselves, as later ComfyUI does for Wan, against what the wrappers tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph
from tiny_wan_variants import WAN_VARIANTS

LARGE = (3, 8, 8)


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    return trajectory, triple, windows, run(graph, triple, windows)


def run(graph: Any, triple: Any, windows: Any) -> torch.Tensor:
    return graph.high_res(triple, windows=windows, backend="torch_boxes")


@pytest.fixture
def publishing(monkeypatch):
    """Makes a Wan model write what later versions write, or something else in its place."""
    import comfy.ldm.wan.model

    kind = comfy.ldm.wan.model.WanModel
    original, handles = kind.forward_orig, []

    def publish(network: Any, number: Any = lambda i: i, grid: Any = None, patches: bool = True) -> None:
        def forward_orig(self: Any, *args: Any, **kwargs: Any) -> Any:
            options = kwargs["transformer_options"]
            options |= {"block_type": "double", "total_blocks": len(network.blocks)}
            if not patches:  # another pack's loop over the blocks, which asks for no wrappers
                options.pop("patches_replace", None)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(kind, "forward_orig", forward_orig)
        for i, block in enumerate(network.blocks):

            def numbered(_: Any, args: tuple, kwargs: dict, i: int = i) -> None:
                options = kwargs["transformer_options"]
                options["block_index"] = number(i)
                if grid is not None:  # here, because later versions write theirs before the first block
                    options["grid_sizes"] = torch.Size(grid)

            handles.append(block.register_forward_pre_hook(numbered, with_kwargs=True))

    yield publish
    for handle in handles:
        handle.remove()


def network_of(graph: Any) -> Any:
    return graph.guider.model_patcher.model.diffusion_model


def said(caplog: Any) -> list[str]:
    return [r.getMessage() for r in caplog.records if "leaves attention unchanged" in r.getMessage()]


@pytest.mark.parametrize("patches", [True, False], ids=["wrapped too", "numbers alone"])
def test_published_numbers_name_the_same_layers(graph, record, publishing, caplog, patches):
    _, triple, windows, expected = record
    with caplog.at_level("WARNING"):
        publishing(network_of(graph), patches=patches)
        published = run(graph, triple, windows)
    assert torch.equal(published, expected)
    assert not caplog.records


def test_without_numbers_and_wrappers_it_is_dense_and_said(graph, record, publishing, caplog):
    _, triple, windows, _ = record
    with caplog.at_level("WARNING"):
        publishing(network_of(graph), number=lambda i: None, patches=False)
        result = run(graph, triple, windows)
    assert torch.equal(result, graph.high_res(triple))
    assert "windows reached 0 of 2 attention layers in the first step" in caplog.text


def test_capture_reads_the_numbers_too(graph, record, publishing):
    publishing(network_of(graph), patches=False)
    assert torch.equal(graph.low_res()[1].reach.mass, record[0].reach.mass)


def test_numbers_that_contradict_the_wrapped_block_leave_it_dense(graph, record, publishing, caplog):
    _, triple, windows, _ = record
    publishing(network_of(graph), number=lambda i: 1 - i)
    with caplog.at_level("WARNING"):
        result = run(graph, triple, windows)
    assert torch.equal(result, graph.high_res(triple))
    assert len(said(caplog)) == 2
    assert any("layer 0 says that it is layer 1" in text for text in said(caplog))


@pytest.mark.parametrize(
    ("grid", "agrees"),
    [(LARGE, True), ((5, 8, 8), True), ((3, 8, 4), False), ((2, 8, 8), False)],
    ids=["same", "with added frames", "narrower", "fewer frames"],
)
def test_a_published_grid_must_hold_the_one_that_was_found(graph, record, publishing, caplog, grid, agrees):
    _, triple, windows, expected = record
    publishing(network_of(graph), grid=grid)
    with caplog.at_level("WARNING"):
        result = run(graph, triple, windows)
    assert torch.equal(result, expected) == agrees
    assert len(said(caplog)) == (0 if agrees else 1)
    assert agrees or f"the model says that it has {grid} tokens, not {LARGE}" in said(caplog)[0]


def test_the_second_stack_of_vace_runs_under_the_numbers_of_the_first(comfy_modules, tmp_path, monkeypatch):
    vace = next(variant for variant in WAN_VARIANTS if variant.name == "wan21_vace")
    graph = variant_graph(comfy_modules, vace, vace.load(tmp_path))
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    expected = run(graph, triple, windows)
    network = network_of(graph)
    handles = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs, i=i: kwargs["transformer_options"].update(
                block_type="double", block_index=i
            ),
            with_kwargs=True,
        )
        for i, block in enumerate(network.blocks)
    ]
    assert torch.equal(run(graph, triple, windows), expected)
    for handle in handles:
        handle.remove()


def test_hunyuan_publishes_its_numbers_in_all_versions(comfy_modules, tmp_path, caplog):
    """A pack that runs the blocks without asking for wrappers: the numbers alone tell the layers."""
    import comfy.patcher_extension

    variant = HUNYUAN_VARIANTS[0]
    model = variant.load(tmp_path)
    graph = variant_graph(comfy_modules, variant, model)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    expected = run(graph, triple, windows)

    def without_patches(executor: Any, *args: Any, **kwargs: Any) -> Any:
        for options in (value for value in args if isinstance(value, dict)):
            options.pop("patches_replace", None)
        return executor(*args, **kwargs)

    for guider in (graph.guider, graph.large_guider):
        guider.model_patcher.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "another pack", without_patches
        )
    with caplog.at_level("WARNING"):
        assert torch.equal(run(graph, triple, windows), expected)
        assert torch.equal(graph.low_res()[1].reach.mass, trajectory.reach.mass)
    assert not caplog.records
