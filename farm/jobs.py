"""What is to be made: one job is one stage of one clip, under the key of its content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .addresses import Json
from .clips import Clip
from .keys import FileDigest, key_of
from .stages import cut

PREVIEW, LARGE = "preview", "large"
STAGES = (PREVIEW, LARGE)
SHORT = 12  # digits of a key that people see


@dataclass(frozen=True)
class Job:
    """key: of its content. needs: a large video's preview, by key. low: the node that loads or makes it."""

    stage: str
    key: str
    name: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    prompt: Json = field(default_factory=dict)
    needs: str = ""
    low: str = ""

    @property
    def short(self) -> str:
        return self.key[:SHORT]


def jobs_of(clips: Iterable[Clip], file_digest: FileDigest) -> list[Job]:
    """The jobs of all clips, previews first, each key once.

    Clips that differ in their expensive part alone share a preview, which then bears the first one's name.
    """
    found: dict[str, dict[str, Job]] = {stage: {} for stage in STAGES}
    for clip in clips:
        stages = cut(clip.prompt)
        preview = key_of(stages.preview, file_digest)
        large = key_of(stages.large, file_digest, preview)
        about = (clip.name, clip.values)
        found[PREVIEW].setdefault(preview, Job(PREVIEW, preview, *about, stages.preview, low=stages.low))
        found[LARGE].setdefault(large, Job(LARGE, large, *about, stages.large, preview, stages.low))
    return [*found[PREVIEW].values(), *found[LARGE].values()]


def picked_jobs(jobs: Iterable[Job], picks: set[str]) -> list[Job]:
    """The large jobs whose preview was picked."""
    return [job for job in jobs if job.stage == LARGE and job.needs in picks]
