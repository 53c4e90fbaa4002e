"""The help page of every node, at the address that the frontend asks, and in its side bar."""

from __future__ import annotations

from running_comfy import RunningComfy

from comfyui_runner.installation import ROOT

from .frontend import Frontend

DOCS = ROOT / "web" / "docs"
FETCH = """(addresses) => Promise.all(addresses.map(async (address) => {
    const answer = await fetch(window.comfyAPI.api.api.fileURL(address));
    return [answer.status, await answer.text()];
}))"""
SELECT_NEW = """(type) => {
    window.app.graph.clear();
    const node = window.LiteGraph.createNode(type);
    window.app.graph.add(node);
    node.pos = [600, 300];
    window.app.canvas.selectNode(node);
}"""


def test_every_node_of_the_pack_has_its_page(frontend: Frontend, comfyui_server: RunningComfy):
    nodes = [
        name
        for name, definition in comfyui_server.object_info.items()
        if definition["python_module"] == f"custom_nodes.{frontend.pack}"
    ]
    assert {f"{name}.md" for name in nodes} == {page.name for page in DOCS.glob("*.md")}
    answers = frontend.page.evaluate(FETCH, [f"/extensions/{frontend.pack}/docs/{name}.md" for name in nodes])
    for name, (status, text) in zip(nodes, answers, strict=True):
        assert status == 200, name
        assert text.strip()
        assert text == (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_the_info_button_shows_the_page(frontend: Frontend):
    frontend.page.evaluate(SELECT_NEW, "S2FlowWindowMask")
    frontend.page.get_by_test_id("info-button").click()
    text = frontend.page.locator(".node-help-content")
    text.get_by_role("heading").first.wait_for()
    heading = (DOCS / "S2FlowWindowMask.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    assert heading in text.inner_text()
    frontend.command("Workspace.ToggleSidebarTab.node-library")
    text.wait_for(state="detached")
