"""Whatever ComfyUI lets through: a node gives numbers, or says in a sentence of the pack what is wrong."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_inputs import Inputs

PREFIXES = ["run", "a/b", "[x]", "**", "../run", "/tmp/run", "", "%year%", "n\0", "x" * 300, "a/" * 40 + "b"]
# Decoding is tried elsewhere.
NEED_MORE = {"S2FlowContactSheet", "S2FlowCompare", "S2FlowCheckVideo"}


@pytest.fixture
def nodes(comfy_modules) -> dict[str, Any]:
    found = comfy_modules.nodes.NODE_CLASS_MAPPINGS
    return {name: node for name, node in found.items() if name.startswith("S2Flow")}


def tensors(value: Any) -> list[torch.Tensor]:
    """Every tensor in what a node takes or gives."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def made(outputs: Any, inputs: Any) -> list[torch.Tensor]:
    """The tensors that a node made: not those that it only hands on or takes a part of."""
    given = {tensor.untyped_storage().data_ptr() for tensor in tensors(inputs)}
    return [tensor for tensor in tensors(outputs) if tensor.untyped_storage().data_ptr() not in given]


def told(problem: Exception, pack: Path) -> bool:
    """Whether the pack itself raised it, with a sentence; an error from the depths of torch is none."""
    raised_in = Path(traceback.extract_tb(problem.__traceback__)[-1].filename).resolve()
    message = str(problem)
    own = any(raised_in.is_relative_to(pack / room) for room in ("nodes", "s2flow_core"))
    return own and message.rstrip().endswith((".", ")")) and " " in message


@pytest.mark.timeout(3000)
def test_a_node_gives_numbers_or_says_what_is_wrong(graph, nodes, output_folder, amount):
    inputs = Inputs(graph, PREFIXES)
    strategies = {name: inputs.of_node(node) for name, node in sorted(nodes.items())}
    possible = {name: strategy for name, strategy in strategies.items() if strategy is not None}
    assert set(strategies) - set(possible) <= NEED_MORE
    tried = amount("random node inputs", 40, 1200)
    pack = Path(graph.modules.pack("s2flow_core").__file__).resolve().parents[1]
    ends = {"numbers": 0, "sentence": 0}

    @settings(max_examples=tried.number, suppress_health_check=[HealthCheck.data_too_large])
    @given(st.one_of(*(st.tuples(st.just(name), strategy) for name, strategy in possible.items())))
    def check(case: tuple[str, dict[str, Any]]) -> None:
        name, values = case
        tried.count()
        try:
            outputs = nodes[name].execute(**values).args
        except Exception as problem:
            assert told(problem, pack), f"{name}: {type(problem).__name__}: {problem}"
            ends["sentence"] += 1
        else:
            for tensor in made(outputs, values):
                assert torch.isfinite(tensor).all(), f"{name} gives NaN or infinity"
            ends["numbers"] += 1

    check()
    assert min(ends.values()) > 0.1 * tried.number
    assert {path.name for path in output_folder.parent.iterdir()} == {"output", "input"}
