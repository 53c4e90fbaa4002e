"""Pins of several Pythons become one list."""

from __future__ import annotations

from setup.update_pins import merge


def test_pins_of_several_pythons_are_merged():
    lines = merge({"3.10": {"a": "1", "b": "1", "triton": "3"}, "3.11": {"a": "1", "b": "2", "triton": "3"}})
    assert lines == [
        "a==1",
        'b==1; python_version == "3.10"',
        'b==2; python_version == "3.11"',
        'triton==3; sys_platform == "linux"',
    ]
