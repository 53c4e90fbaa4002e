"""What all tests share: the repository on sys.path, marks by folder, the running ComfyUI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers, each with two threads, would fight for two cores. Set before torch is imported, and as a
    # variable, so that the processes that tests start obey it as well.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from running_comfy import comfyui_server  # noqa: E402, F401  (a fixture)


class PackFolderIsNoTestPackage:
    """The repository root is a ComfyUI pack with an `__init__.py` that only ComfyUI can import."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    # Hooks of this file itself are not asked about folders above it; those of a plugin are.
    config.pluginmanager.register(PackFolderIsNoTestPackage())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of tests/host and tests/browser, so that `-m` can leave them out.

    Where two processes share the tests (`-n 2 --dist loadgroup`), the tests of a file stay together, because
    they share fixtures, and so do all that talk to the running ComfyUI, because it is started once.
    """
    with_server = {item.path for item in items if "comfyui_server" in getattr(item, "fixturenames", ())}
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("host", "browser"):
            item.add_marker(folder)
        group = "server" if item.path in with_server else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
