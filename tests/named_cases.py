"""A test's name is the same in every process: parallel workers compare their lists of names."""

from __future__ import annotations

import re

import pytest

ADDRESS = re.compile(r"\bat 0x[0-9a-f]+")


def refuse_addresses(names: list[str]) -> None:
    """Raises `pytest.UsageError` when a name holds an address, which differs from process to process.

    Without it the fault shows in `pytest -n` alone, as two lists that differ.
    """
    if unsteady := sorted({name.partition("[")[0] for name in names if ADDRESS.search(name)}):
        raise pytest.UsageError(f"Give these tests ids; their names hold an address: {', '.join(unsteady)}")
