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
ADD_NEW = """(type) => {
    window.app.graph.clear();
    const node = window.LiteGraph.createNode(type);
    window.app.graph.add(node);
    node.pos = [600, 300];
}"""
# The middle of the only node's title, in pixels of the page.
TITLE = """() => {
    const [node] = window.app.graph.nodes;
    const { canvas, ds } = window.app.canvas;
    const { x, y } = canvas.getBoundingClientRect();
    const [right, down] = ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] - 15]);
    return [x + right, y + down];
}"""

CLOSE_PANEL = "() => window.app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)"


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


def test_the_chinese_pages_are_where_the_frontend_asks_first(frontend: Frontend):
    pages = sorted(DOCS.glob("*/zh.md"))
    assert {page.parent.name for page in pages} == {page.stem for page in DOCS.glob("*.md")}
    asked = [f"/extensions/{frontend.pack}/docs/{page.parent.name}/zh.md" for page in pages]
    for page, (status, text) in zip(pages, frontend.page.evaluate(FETCH, asked), strict=True):
        assert status == 200 and text == page.read_text(encoding="utf-8"), page.parent.name


def test_the_info_button_shows_the_page(frontend: Frontend):
    frontend.page.evaluate(ADD_NEW, "S2FlowWindowMask")
    frontend.wait_until_drawn()
    frontend.page.mouse.click(*frontend.page.evaluate(TITLE))
    frontend.page.get_by_test_id("info-button").click()
    text = frontend.page.locator(".node-help-content")
    text.get_by_role("heading").first.wait_for()
    heading = (DOCS / "S2FlowWindowMask.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    assert heading in text.inner_text()
    close_help(frontend)
    text.wait_for(state="detached")


def close_help(frontend: Frontend) -> None:
    """Earlier frontends show the page in the side bar, later ones in the panel of the selected node."""
    if frontend.page.get_by_test_id("properties-panel").is_visible():
        frontend.page.evaluate(CLOSE_PANEL)
    else:
        frontend.command("Workspace.ToggleSidebarTab.node-library")
