"""The exception that ends a run of the farm with a sentence, and names that are near a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Refusal(Exception):
    """Says what is in the way and what to do about it; nothing that was finished is touched."""


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; the nearest is 'seed'" to end a sentence with, or what there is where nothing is near."""
    there = sorted(set(names))
    lower = {known.lower(): known for known in there}
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    if found:
        return f"; the nearest is '{lower[found[0]]}'"
    return f"; there is {', '.join(there)}" if there else ""
