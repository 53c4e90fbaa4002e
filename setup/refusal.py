"""The one exception that ends the set-up with a sentence instead of a traceback."""

from __future__ import annotations


class Refusal(Exception):
    """Says in one or two sentences what is in the way and what to do about it."""
