"""Calls are shared from the first on, whatever is faster here."""

from __future__ import annotations

import pytest

from s2flow_core.attention.sharing.trial import Trial


@pytest.fixture
def always_shared(monkeypatch):
    monkeypatch.setattr(Trial, "shares", property(lambda trial: trial._shares is not False))
