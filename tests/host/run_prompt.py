"""Runs a prompt inside this process, node by node, with some nodes answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Answer = Callable[[str, Json], tuple[Any, ...] | None]


class PromptRun:
    """answer: outputs by class and inputs of a node; None where the node itself is to run."""

    def __init__(self, modules: Any, prompt: Json, answer: Answer):
        self.modules = modules
        self.prompt = prompt
        self.answer = answer
        self.results: dict[str, tuple[Any, ...]] = {}

    def result(self, number: str) -> tuple[Any, ...]:
        """The outputs of a node, which runs first if it has not."""
        if number not in self.results:
            node = self.prompt[number]
            inputs = {name: self.value(value) for name, value in node["inputs"].items()}
            given = self.answer(node["class_type"], inputs)
            self.results[number] = self.run(number, inputs) if given is None else given
        return self.results[number]

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return self.result(value[0])[value[1]]
        return value

    def run(self, number: str, inputs: Json) -> tuple[Any, ...]:
        from comfy_api.latest import io

        kind = self.modules.node(self.prompt[number]["class_type"])
        if not issubclass(kind, io.ComfyNode):
            return tuple(getattr(kind(), kind.FUNCTION)(**inputs))
        hidden: Json = {io.Hidden.prompt: self.prompt, io.Hidden.unique_id: number}
        clone = kind.PREPARE_CLASS_CLONE(hidden | {"hidden_inputs": hidden})
        return tuple(clone.execute(**inputs).args)
