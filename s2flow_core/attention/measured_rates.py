"""Numbers measured once on this machine: how fast attention runs, how exact a kernel is.

Kept in a file, so that the next process need not measure again. A number belongs to one chip, driver, torch,
Triton and one version of the source of kernels and measurement; where any of them changes, everything is
measured anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import RLock
from typing import Any, cast

import torch

log = logging.getLogger(__name__)

_MOST_MACHINES = 32
"""Sets of numbers that a file keeps: old drivers and kernels fall out, the oldest first."""

Numbers = dict[str, dict[str, float]]
"""Machine -> what was measured -> the number."""


class MeasuredRates:
    """path: the file, written where something new was measured; None keeps everything in this process.

    Threads may share one: while one measures, the others wait. What raises while it is measured is not kept.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self._numbers: Numbers | None = None
        self._lock = RLock()

    def number(self, device: torch.device, what: str, measure: Callable[[], float]) -> float:
        """The number that is known under this name, or else what `measure` returns, which is kept."""
        with self._lock:
            if self._numbers is None:
                self._numbers = _read(self._path)
            known = self._numbers.setdefault(machine(device), {})
            if what not in known:
                known[what] = measure()
                self._write()
            return known[what]

    def _write(self) -> None:
        """Together with what other processes have written meanwhile; a folder that cannot be written is no
        reason to stop."""
        if self._path is None or self._numbers is None:
            return
        for name, known in _read(self._path).items():
            self._numbers[name] = known | self._numbers.get(name, {})
        kept = dict(list(self._numbers.items())[-_MOST_MACHINES:])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # In the same folder, because only a rename within one file system is atomic.
            handle, unfinished = tempfile.mkstemp(dir=self._path.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=1)
            os.replace(unfinished, self._path)
        except OSError as problem:
            log.info("S²Flow attention: measurements cannot be kept in %s (%s).", self._path, problem)
            self._path = None


def machine(device: torch.device) -> str:
    """The chip and everything between it and the kernels, as one line."""
    parts = [f"torch {torch.__version__}", f"Triton {_triton_version()}", f"kernels {_source_version()}"]
    if device.type != "cuda":
        return ", ".join([device.type, platform.processor() or platform.machine(), str(_threads()), *parts])
    return ", ".join([device_name(device), _driver(), *parts])


def device_name(device: torch.device) -> str:
    """What an artist calls the chip."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"this {device.type}"


def _read(path: Path | None) -> Numbers:
    """What a file holds; nothing if there is none or it is damaged."""
    if path is None or not path.is_file():
        return {}
    try:
        held = cast(dict[str, dict[str, Any]], json.loads(path.read_text(encoding="utf-8")))
        return {
            name: {what: float(number) for what, number in known.items() if _is_measurement(number)}
            for name, known in held.items()
        }
    except (OSError, ValueError, AttributeError):
        return {}


def _is_measurement(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number) and number >= 0


def _threads() -> str:
    return f"{torch.get_num_threads()} threads"


def _driver() -> str:
    """The newest CUDA that the driver knows, or the version of HIP."""
    if torch.version.hip:
        return f"HIP {torch.version.hip}"
    ask = cast(Any, getattr(torch, "_C", None))
    return f"driver {getattr(ask, '_cuda_getDriverVersion', lambda: 'unknown')()}"


@cache
def _triton_version() -> str:
    for package in ("triton", "triton-windows", "pytorch-triton-rocm"):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "none"


@cache
def _source_version() -> str:
    """Changes with every change of the kernels, of what launches them, or of what is measured."""
    core = Path(__file__).resolve().parents[1]
    attention, digest = core / "attention", hashlib.sha256()
    launches = (file for folder in (core / "kernels", attention / "backends") for file in folder.glob("*.py"))
    for file in (*sorted(launches), attention / "probe.py"):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
