"""One page of ComfyUI's frontend for all tests of this folder, and a picture of it where one fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from running_comfy import RunningComfy

from comfyui_runner.installation import comfyui_path
from comfyui_runner.pack_link import link_pack

from .chromium import chromium_path, running_chromium
from .frontend import Frontend

# No tour on the first visit, and no workflow but those that a test opens.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.Persist": False,
    "Comfy.Minimap.Visible": False,
}
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session", autouse=True)
def chromium() -> str:
    """Comes before the server, which is of the same scope and then need not start in vain."""
    return chromium_path()


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """One for this folder: two Playwrights cannot run at once, and other tests run loops of their own."""
    with running_chromium(chromium) as browser:
        yield browser


@pytest.fixture(scope="package")
def frontend(browser: Browser, comfyui_server: RunningComfy) -> Frontend:
    comfyui_server.client.post("/api/settings", SETTINGS)
    page = browser.new_page(viewport={"width": 1920, "height": 1080})
    frontend = Frontend(page, comfyui_server.server.url, link_pack(comfyui_path()).name)
    frontend.open()
    return frontend


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def picture_of_a_failure(
    request: pytest.FixtureRequest, frontend: Frontend, tmp_path: Path
) -> Iterator[None]:
    yield
    if request.node.stash.get(FAILED, False):
        picture = tmp_path / "page.png"
        frontend.page.screenshot(path=picture)
        request.node.add_report_section("teardown", "page", f"The page as it was: {picture}")
