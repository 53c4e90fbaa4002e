"""Stops a model at one of its calls, as a cancel does."""

from __future__ import annotations

import pytest


class Stopped(BaseException):
    """As a cancelled prompt ends: no handler for errors catches it."""


class Stopper:
    """Stops the model at its n-th call, and counts the calls."""

    def __init__(self, graph):
        self.model = graph.guider.model_patcher.model.diffusion_model
        self.calls, self.last = 0, None

    def __enter__(self):
        self.hook = self.model.register_forward_pre_hook(self.count)
        return self

    def __exit__(self, *_):
        self.hook.remove()

    def count(self, *_):
        self.calls += 1
        if self.calls == self.last:
            raise Stopped

    def run(self, function, *given, **named):
        """Unhindered."""
        self.calls, self.last = 0, None
        return function(*given, **named)

    def stop(self, calls, function, *given, **named):
        """After so many calls of the model."""
        self.calls, self.last = 0, calls + 1
        with pytest.raises(Stopped):
            function(*given, **named)
