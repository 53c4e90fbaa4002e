"""How many workers a Ray cluster has room for; known without Ray, so that every environment tests it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .refusal import Refusal


@dataclass(frozen=True)
class ClusterOptions:
    """address: of the head, "auto" for the one of this machine, "local" for a new one. workers: None takes
    as many as the cluster has GPUs for."""

    address: str
    workers: int | None
    gpus_per_clip: float


def workers_for(options: ClusterOptions, resources: Mapping[str, float]) -> int:
    """As many as the cluster has GPUs for, or were asked for; one on the CPU."""
    gpus = options.gpus_per_clip
    room = int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 0))
    if gpus and not room:
        raise Refusal(f"The cluster has no room for {gpus:g} GPU(s). Add --cpu to make clips on the CPU.")
    count = options.workers or (room if gpus else 1)
    if count > room:
        raise Refusal(f"The cluster has room for {room} workers, not for {count}. Give --workers {room}.")
    return count
