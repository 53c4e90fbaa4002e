"""Refuses before a disk runs full, and recognises the error when it did anyway."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from .refusal import Refusal

GIGABYTE = 10**9


def require_free_space(folder: Path, needed: float, purpose: str) -> None:
    """Raises Refusal unless `needed` gigabytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free / GIGABYTE
    if free < needed:
        raise Refusal(
            f"The disk is too full: {purpose} needs {needed:g} GB in {folder}, and {free:.1f} GB are free. "
            f"Free {needed - free:.1f} GB more and run the command again."
        )


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full_refusal(folder: Path) -> Refusal:
    return Refusal(
        f"The disk ran full while setting up in {folder}. Free some space and run the command again: "
        "it goes on from where it stopped."
    )
