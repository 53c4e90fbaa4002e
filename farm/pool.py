"""What the loop asks of workers, and what they tell it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .jobs import Job


@dataclass(frozen=True)
class Progress:
    """share: of the job that is done, 0..1. what: the node that runs."""

    share: float
    what: str = ""


@dataclass(frozen=True)
class Made:
    """The whole result lies in the attempt's folder, not committed yet."""


@dataclass(frozen=True)
class Lost:
    """The worker, or the ComfyUI in it, died: nobody can say whether the job is to blame."""

    why: str


@dataclass(frozen=True)
class NodeFailed:
    """A node raised an error; memory: because memory ran out."""

    why: str
    memory: bool = False


@dataclass(frozen=True)
class Stopped:
    """Nothing of this run can go on: ComfyUI refused the prompt, or the store's drive is full."""

    why: str


Event = Progress | Made | Lost | NodeFailed | Stopped


@dataclass(frozen=True)
class Told:
    """What a worker told about the job that it writes into `folder`; folders are never used twice."""

    worker: str
    folder: Path
    event: Event


class PoolLost(Exception):
    """All workers are gone at once, and with them what they were doing."""


class Pool(Protocol):
    """Workers that take one job at a time. A worker is named once and keeps its name."""

    def idle(self) -> list[str]:
        """Workers that can take a job now."""
        ...

    def start(self, worker: str, job: Job, folder: Path) -> None:
        """Gives an idle worker a job, which it is to write into `folder`."""
        ...

    def wait(self, seconds: float) -> list[Told]:
        """What workers told since the last call; returns early once there is some. May raise PoolLost."""
        ...

    def kill(self, worker: str, whole: bool) -> None:
        """Ends a worker's ComfyUI, or with `whole` all of it, as when it no longer answers."""
        ...

    def restart(self) -> None:
        """Starts all workers anew after PoolLost."""
        ...
