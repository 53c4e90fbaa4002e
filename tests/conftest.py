"""What all tests share: the repository on sys.path, marks by folder, the running ComfyUI."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers, each with two threads, would fight for two cores. Set before torch is imported, and as a
    # variable, so that the processes that tests start obey it as well.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from amounts import amount, keep_cases, ran_cases, skip_long  # noqa: E402, F401  (amount is a fixture)
from named_cases import refuse_addresses  # noqa: E402
from running_comfy import comfyui_server  # noqa: E402, F401  (a fixture)


class PackFolderIsNoTestPackage:
    """The repository root is a ComfyUI pack with an `__init__.py` that only ComfyUI can import."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try all cases of the tests that have many")
    parser.addoption("--keep", type=Path, help="write how many cases were tried into this file")


def pytest_configure(config: pytest.Config) -> None:
    # Hooks of this file itself are not asked about folders above it; those of a plugin are.
    config.pluginmanager.register(PackFolderIsNoTestPackage())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of tests/host and tests/browser, so that `-m` can leave them out."""
    refuse_addresses([item.nodeid for item in items])
    skip_long(config, items)
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("host", "browser"):
            item.add_marker(folder)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    ended = [report for state in ("passed", "failed") for report in terminalreporter.stats.get(state, [])]
    cases = ran_cases([report for report in ended if report.when == "call"])
    if cases:
        terminalreporter.section("cases")
        for case in cases:
            terminalreporter.write_line(str(case))
    if (kept := terminalreporter.config.getoption("--keep")) is not None:
        keep_cases(cases, kept)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How `-n 2 --dist loadscope` shares the tests: a file stays together, because its tests share fixtures,
    and so do all files that talk to the running ComfyUI, because it is started once."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class FilesAndServer(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "server" if talks_to_server(ROOT / file) else file

    return FilesAndServer(config, log)


@cache
def talks_to_server(file: Path) -> bool:
    """Whether a file's tests need the running ComfyUI, as those in tests/browser all do."""
    return file.is_relative_to(TESTS / "browser") or "comfyui_server" in file.read_text(encoding="utf-8")
