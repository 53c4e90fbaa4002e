"""Every backend says what it can compute before its code is loaded."""

from __future__ import annotations

from s2flow_core.attention.registry import BACKENDS


def test_every_backend_that_is_listed_names_its_code():
    assert list(BACKENDS) == ["dense", "torch_boxes", "triton_windows"]
    for name, backend in BACKENDS.items():
        assert backend.name == name and backend.module == f".backends.{name}"
