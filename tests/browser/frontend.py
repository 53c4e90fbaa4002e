"""ComfyUI's own frontend in a page: opens workflows as an artist does and tells what the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Response, expect

from comfyui_runner.workflow_api import inputs_taken

Json = dict[str, Any]
# Generous: the machine may have other work.
SECONDS_TO_OPEN = 300
SECONDS_TO_ANSWER = 240
# The frontend asks its makers' registry about packs, and where the models of its own first workflow lie; the
# server forbids it without API nodes.
OUTSIDE = ("https://api.comfy.org", "https://huggingface.co/Comfy-Org/z_image_turbo")
# The console repeats what the failed response says, without its method and status.
FAILED_RESPONSE = "Failed to load resource"

READY = "() => window.app?.vueAppReady && window.app.extensionManager && window.app.graph"
NODES = """() => window.app.graph.nodes.map((node) => ({
    id: Number(node.id),
    type: node.type,
    title: node.title,
    known: node.type in window.LiteGraph.registered_node_types,
    marked: Boolean(node.has_errors),
    box: [...node.pos, ...node.size],
    widgets: (node.widgets ?? []).map((widget) => {
        const { values, min, max } = widget.options ?? {};
        const choices = typeof values === 'function' ? values(widget, node) : values;
        return { name: widget.name, type: widget.type, value: widget.value, min, max, choices,
                 shown: widget._displayValue };
    }),
}))"""
# The box of a group: x, y, width, height, as of a node, whose title bar lies above its box.
GROUPS = "() => window.app.graph.groups.map((group) => [...group.pos, ...group.size])"
OPEN_TEMPLATE = """async ([pack, name]) => {
    const answer = await fetch(window.comfyAPI.api.api.apiURL(`/workflow_templates/${pack}/${name}.json`));
    await window.app.loadGraphData(await answer.json(), true, true, name, { openSource: 'template' });
}"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SET_WIDGET = """([type, name, value]) => {
    for (const node of window.app.graph.nodes.filter((node) => node.type === type)) {
        const widget = node.widgets.find((widget) => widget.name === name);
        widget.value = value;
        widget.callback?.(value, window.app.canvas, node);
    }
}"""
# Text that does not fit into its note, in pixels.
CUT_OFF = """() => window.app.graph.nodes.filter((node) => node.type === 'MarkdownNote').map((node) => {
    const text = node.widgets[0].element.querySelector('.ProseMirror, .tiptap') ?? node.widgets[0].element;
    return Math.max(0, text.scrollHeight - node.widgets[0].element.clientHeight);
})"""
# The mark stood on what holds the button, and is on the button itself in later versions.
RUN_BUTTON = "[data-testid=queue-button] button, button[data-testid=queue-button]"
# The width of the video that each node shows, by the id of the node.
VIDEO_WIDTHS = """() => Object.fromEntries(window.app.graph.nodes.flatMap((node) => {
    const video = node.widgets?.find((widget) => widget.name === 'video-preview')?.element;
    const shown = video?.querySelector('video') ?? video;
    return shown?.videoWidth ? [[node.id, shown.videoWidth]] : [];
}))"""


class Frontend:
    """page: an empty page. url: where ComfyUI answers. pack: the name under which it loaded this pack."""

    def __init__(self, page: Page, url: str, pack: str):
        self.page = page
        self.url = url
        self.pack = pack
        self.complaints: list[str] = []
        page.set_default_timeout(SECONDS_TO_ANSWER * 1000)
        page.on("console", self.take_message)
        page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        page.on("response", self.take_response)
        page.on("requestfailed", self.take_failed_request)

    def take_message(self, message: ConsoleMessage) -> None:
        text = message.text
        known = text.startswith(FAILED_RESPONSE) or any(address in text for address in OUTSIDE)
        if message.type == "error" and not known:
            self.complaints.append(f"console: {text}")

    def take_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def take_failed_request(self, request: Request) -> None:
        # A video that is replaced or seeked ends its request early.
        if request.url.startswith(self.url) and request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.failure}: {request.url}")

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Collects what goes wrong from here on; what the start of the frontend says is not ours."""
        self.complaints = []
        yield self.complaints

    def open(self) -> None:
        self.page.goto(self.url, timeout=SECONDS_TO_OPEN * 1000, wait_until="domcontentloaded")
        self.page.wait_for_function(READY, timeout=SECONDS_TO_OPEN * 1000)
        # Later versions lay this over the page a little longer, and it takes the clicks.
        self.page.locator("#splash-loader").wait_for(state="hidden")

    def command(self, name: str) -> None:
        self.page.evaluate("(name) => window.app.extensionManager.command.execute(name)", name)

    def browse_templates(self) -> Locator:
        """Opens the template browser at the pack's own entry and returns its dialog."""
        self.command("Comfy.BrowseTemplates")
        dialog = self.page.get_by_role("dialog")
        named = dialog.get_by_text(self.pack, exact=True)
        named.click()
        named.nth(1).wait_for()  # the heading over what the entry lists
        return dialog

    def card(self, dialog: Locator, name: str) -> Locator:
        return dialog.get_by_test_id(f"template-workflow-{name}")

    def open_template(self, name: str) -> None:
        """Loads a workflow as a click on its card does, without the cards of all the other templates."""
        self.page.evaluate(OPEN_TEMPLATE, [self.pack, name])
        self.command("Comfy.Canvas.FitView")
        self.wait_until_drawn()

    def wait_until_drawn(self) -> None:
        """What the canvas and the notes look like, and what a click hits, is known only then."""
        self.page.evaluate(TWO_FRAMES)

    def dialogs(self) -> list[str]:
        return self.page.get_by_role("dialog").all_inner_texts()

    def close_dialogs(self) -> None:
        """For a template whose model files are not here, earlier versions lay one over the page."""
        dialogs = self.page.get_by_role("dialog")
        for _ in range(dialogs.count()):
            self.page.keyboard.press("Escape")
        expect(dialogs).to_have_count(0)

    def nodes(self) -> list[Json]:
        return self.page.evaluate(NODES)

    def groups(self) -> list[list[float]]:
        return self.page.evaluate(GROUPS)

    def text_cut_off(self) -> list[float]:
        return self.page.evaluate(CUT_OFF)

    def prompt(self) -> Json:
        """What the frontend would send to /prompt."""
        return self.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    def set_widget(self, node_type: str, name: str, value: Any) -> None:
        self.page.evaluate(SET_WIDGET, [node_type, name, value])

    def press_run(self) -> None:
        # Over a tab, the mouse would have brought a picture of its workflow, which lies over the button.
        self.page.mouse.move(960, 900)
        self.page.locator(".workflow-popover-fade").wait_for(state="hidden")
        self.page.locator(RUN_BUTTON).first.click()

    def video_widths(self) -> dict[str, int]:
        return self.page.evaluate(VIDEO_WIDTHS)


def known_inputs(prompt: Json, object_info: Json) -> Json:
    """A prompt without the inputs by which the frontend shows results; the server does not know them."""
    known = {}
    for key, node in prompt.items():
        names = {name for name, _ in inputs_taken(object_info[node["class_type"]], node["inputs"])}
        known[key] = node | {"inputs": {name: v for name, v in node["inputs"].items() if name in names}}
    return known
