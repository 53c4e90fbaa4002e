"""What needs a ComfyUI is marked by its folder, so that everything else can be run without one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SETTINGS = """
[pytest]
addopts = --strict-markers
markers =
    host: needs a ComfyUI
    browser: needs a ComfyUI and a browser
"""


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("not host and not browser", ["tests/core/test_a.py::test_one", "tests/test_d.py::test_one"]),
        ("host", ["tests/host/test_b.py::test_one", "tests/host/deeper/test_e.py::test_one"]),
        ("browser", ["tests/browser/test_c.py::test_one"]),
    ],
)
def test_folders_are_chosen_by_their_marks(pytester: pytest.Pytester, expression: str, chosen: list[str]):
    """In a folder of its own, with the conftest.py of these tests."""
    places = ("core/test_a", "host/test_b", "browser/test_c", "test_d", "host/deeper/test_e")
    for place in places:
        file = pytester.path / "tests" / f"{place}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("def test_one():\n    pass\n")
    shutil.copy(Path(__file__).with_name("conftest.py"), pytester.path / "tests")
    (pytester.path / "pytest.ini").write_text(SETTINGS)
    result = pytester.runpytest_inprocess("--collect-only", "-q", "-m", expression)
    assert result.ret == 0
    assert sorted(line for line in result.outlines if "::" in line) == sorted(chosen)
