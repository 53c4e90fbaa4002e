"""A test whose name differs from process to process is refused before the workers disagree about it."""

from __future__ import annotations

import copy

import pytest
from named_cases import refuse_addresses


@pytest.mark.parametrize(
    "value", [copy.copy, print, lambda: None, object()], ids=["def", "built-in", "lambda", "object"]
)
def test_an_address_in_a_name_is_refused(value):
    if "0x" not in str(value):
        refuse_addresses([f"tests/test_a.py::test_one[{value}]"])
        return
    with pytest.raises(pytest.UsageError, match=r"test_a\.py::test_two$"):
        refuse_addresses(["tests/test_a.py::test_one[1]", f"tests/test_a.py::test_two[{value}]"])


@pytest.mark.parametrize("name", ["tests/a.py::test", "tests/a.py::test[0xff]", "tests/a.py::test[at 12]"])
def test_a_steady_name_passes(name):
    refuse_addresses([name])
