"""Why a call is not windowed."""

from __future__ import annotations


class WindowsNotApplicable(ValueError):
    """This attention call cannot be windowed; the message is the reason. Callers fall back to dense."""


class WindowsCannotWin(WindowsNotApplicable):
    """`auto` found that the attention installed before is no slower than windows; the message says why."""


class BackendRefused(ValueError):
    """The backend picked by hand cannot compute this call; the message says why."""
