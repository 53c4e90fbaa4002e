"""A progress bar that also looks whether the artist has cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import comfy.model_management
import comfy.utils


def progress(steps: int) -> Callable[[], None]:
    """A function to be called after each of so many steps; it raises ComfyUI's own exception on cancel."""
    bar = comfy.utils.ProgressBar(steps)

    def step_done() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    return step_done


T = TypeVar("T")


def shown_in_progress(things: Iterable[T], count: int) -> Iterator[T]:
    """The same things, `count` of them; the bar moves as each is done with."""
    step_done = progress(count)
    for thing in things:
        yield thing
        step_done()
