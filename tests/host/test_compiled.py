"""Models under torch.compile: graphs may break at our hooks, results may not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import LAYERS, wan_graph


@pytest.fixture(autouse=True)
def fresh_compiler():
    import torch._dynamo

    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Graphs:
    """A backend that runs what it is given as it is, and keeps the names of the operations."""

    def __init__(self) -> None:
        self.graphs: list[list[str]] = []

    def __call__(self, module: Any, inputs: Any) -> Any:
        self.graphs.append([str(node.target) for node in module.graph.nodes if node.op == "call_function"])
        return module.forward


def whole_model(patcher: Any, backend: Any) -> Any:
    """Core's TorchCompileModel."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    compiled = patcher.clone()
    set_torch_compile_wrapper(model=compiled, backend=backend)
    return compiled


def block_by_block(patcher: Any, backend: Any) -> Any:
    """Other packs' nodes compile the blocks alone, as object patches."""
    compiled = patcher.clone()
    for name in ("blocks", "double_blocks", "single_blocks"):
        for i in range(len(getattr(patcher.model.diffusion_model, name, ()))):
            path = f"diffusion_model.{name}.{i}"
            block = torch.compile(patcher.get_model_object(path), backend=backend)
            compiled.add_object_patch(path, block)
    return compiled


WAYS = pytest.mark.parametrize("compiled", [whole_model, block_by_block])


def low(graph: Any, record: Any, guider: Any) -> torch.Tensor:
    latent, trajectory = graph.low_res(guider=guider)
    return torch.cat([latent["samples"].flatten(), trajectory.reach.mass.float().flatten()])


def windowed(graph: Any, record: Any, guider: Any) -> torch.Tensor:
    return graph.high_res(record[1], guider=guider, windows=record[2], backend="torch_boxes")


def left_below(graph: Any, record: Any, guider: Any) -> torch.Tensor:
    """So small a call is left to the attention that is installed."""
    return graph.high_res(record[1], guider=guider, windows=record[2])


def adapted(graph: Any, record: Any, guider: Any) -> torch.Tensor:
    settings = {"rope": "ntk", "attention_temperature": True, "trajectory": record[0]}
    return graph.high_res(record[1], guider=guider, **settings)


@WAYS
def test_wan_gives_what_it_gives_uncompiled(graph, record, compiled, caplog):
    backend = Graphs()
    model = compiled(graph.guider.model_patcher, backend)
    guider = wan_graph(graph.modules, model=model).guider
    for run in (windowed, left_below, adapted, low):
        with caplog.at_level("WARNING"):
            result = run(graph, record, guider)
        assert torch.allclose(result, run(graph, record, graph.guider), atol=1e-3)
        assert not [r for r in caplog.records if "S²Flow" in r.getMessage()]
        if run is windowed:
            # The arithmetic of every block is compiled, though the graph breaks at its attention, and the
            # hooks of a new pass or run are no reason to compile it again.
            assert sum(any("linear" in name for name in names) for names in backend.graphs) >= LAYERS
            compiled_once = len(backend.graphs)
            assert torch.equal(run(graph, record, guider), result)
            assert len(backend.graphs) == compiled_once


def test_hunyuan_gives_what_it_gives_uncompiled(comfy_modules, tmp_path):
    variant = HUNYUAN_VARIANTS[0]
    model = variant.load(tmp_path)
    graph = variant_graph(comfy_modules, variant, model)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory, t_i=2)
    given = {"windows": graph.windows(trajectory, triple[0], s=0.5), "backend": "torch_boxes"}
    other = variant_graph(comfy_modules, variant, block_by_block(model, Graphs()))
    assert torch.allclose(other.high_res(triple, **given), graph.high_res(triple, **given), atol=1e-3)


def test_windows_put_in_before_anyone_compiles(graph, record):
    """Apply Windows stands before the node that compiles, and its hooks are older than the compiler."""
    import sys

    expected = left_below(graph, record, graph.guider)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "torch._dynamo")
        model = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=record[2])[0]
    guider = wan_graph(graph.modules, model=whole_model(model, Graphs())).guider
    assert torch.allclose(graph.high_res(record[1], guider=guider), expected, atol=1e-3)
