"""What a figure was measured on: kept beside every figure, because it means little without."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform

import torch

PROCESSORS = "/proc/cpuinfo"


def measured_on(device: str = "cpu") -> dict[str, str]:
    """device: "cpu" or "cuda". Returns its name, threads, versions and today's date."""
    return {
        "device": f"{device}: {torch.cuda.get_device_name() if device == 'cuda' else processor()}",
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": version_of("triton"),
        "date": datetime.date.today().isoformat(),
    }


def processor() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    try:
        with open(PROCESSORS, encoding="utf-8") as file:
            named = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
