"""The switch that keeps ComfyUI's operations differentiable, on a stand-in for ComfyUI's module."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from training.gradients import core_with_gradients

MODULE = "comfy.model_management"


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, ValueError])
def test_the_switch_is_set_within_and_as_it_was_afterwards(monkeypatch, before, ending):
    management = SimpleNamespace(in_training=before)
    monkeypatch.setitem(sys.modules, MODULE, management)
    if ending is None:
        with core_with_gradients():
            assert management.in_training is True
    else:
        with pytest.raises(ending), core_with_gradients():
            assert management.in_training is True
            raise ending
    assert management.in_training is before


def test_a_comfyui_without_the_switch_gets_none(monkeypatch):
    management = SimpleNamespace()
    monkeypatch.setitem(sys.modules, MODULE, management)
    with core_with_gradients():
        pass
    assert not hasattr(management, "in_training")


def test_without_comfyui_nothing_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with core_with_gradients():
        assert MODULE not in sys.modules
