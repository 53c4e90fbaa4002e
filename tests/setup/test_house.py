"""The house stays readable: files and parameter lists keep the sizes that CONTRIBUTING.md promises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from setup.places import ROOT

FOLDERS = (
    "nodes",
    "s2flow_core",
    "demo",
    "training",
    "benchmarks",
    "farm",
    "comfyui_runner",
    "setup",
    "templates",
    "tests",
)
MOST_LINES = 300
MOST_PARAMETERS = 8
# Kernels take pointers and strides one by one, and a node's execute takes the node's inputs.
SHARED_NAMES = ("conftest.py", "__init__.py")
FREE_PARAMETERS = ("s2flow_core/kernels/*.py", "nodes/*.py")


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def too_long(text: str) -> bool:
    """A longer file says why in the comment that it begins with."""
    return len(text.splitlines()) > MOST_LINES and not text.startswith("# ")


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every function with the number of its parameters, self and cls aside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len(given) - bool(given and given[0].arg in ("self", "cls"))
            yield node.name, count


def test_no_file_is_long_without_a_reason():
    assert [str(p.relative_to(ROOT)) for p in sources() if too_long(p.read_text(encoding="utf-8"))] == []


def test_no_function_takes_many_parameters():
    many = []
    for path in sources():
        if any(path.match(f"{ROOT}/{pattern}") for pattern in FREE_PARAMETERS):
            continue
        found = functions(ast.parse(path.read_text(encoding="utf-8")))
        many += [f"{path.relative_to(ROOT)}: {name}" for name, count in found if count > MOST_PARAMETERS]
    assert many == []


def test_no_two_test_files_share_a_name():
    """pytest would take one for the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in SHARED_NAMES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("text", "long"),
    [("x = 1\n" * 300, False), ("x = 1\n" * 301, True), ("# One table.\n" + "x = 1\n" * 301, False)],
)
def test_a_long_file_is_noticed(text: str, long: bool):
    assert too_long(text) is long


def test_parameters_are_counted_without_self():
    tree = ast.parse("class A:\n def f(self, a, *, b): ...\ndef g(a, /, b, c=1, **d): ...")
    assert dict(functions(tree)) == {"f": 2, "g": 3}


def test_every_file_can_be_shown_on_a_windows_console():
    """What the registry's offline checks (`comfy-test lint`) ask of Python files: signs of code page 1252."""
    beyond = {
        str(path.relative_to(ROOT)): sign
        for path in sources()
        for sign in sorted(set(path.read_text(encoding="utf-8")))
        if not encodable(sign)
    }
    assert beyond == {}


def encodable(sign: str) -> bool:
    return sign.encode("cp1252", errors="ignore") != b""
