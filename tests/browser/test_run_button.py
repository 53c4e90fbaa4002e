"""The quickstart, run with the Run button: both videos appear in their nodes, and nothing else changes."""

from __future__ import annotations

from running_comfy import RunningComfy

from .boxes import require_apart, require_grouped
from .frontend import Frontend, known_inputs

SECONDS_TO_RUN = 400
# The smallest run that takes every node: widgets by class of the node.
SHORT = [
    ("EmptyHunyuanLatentVideo", "length", 5),
    ("BasicScheduler", "steps", 2),
    ("S2FlowLowResSampler", "capture_rows", 16),
    ("S2FlowUpsample", "t_i", 1),
]
BOTH_VIDEOS = """() => window.app.graph.nodes.filter((node) => node.type === 'SaveVideo').every((node) => {
    const element = node.widgets.find((widget) => widget.name === 'video-preview')?.element;
    return (element?.querySelector('video') ?? element)?.videoWidth > 0;
})"""


def test_run_shows_both_videos_and_the_report(frontend: Frontend, comfyui_server: RunningComfy):
    with frontend.watched() as complaints:
        frontend.open_template("01 Quickstart, no download")
        for node_type, name, value in SHORT:
            frontend.set_widget(node_type, name, value)
        before, prompt = places(frontend), known_inputs(frontend.prompt(), comfyui_server.object_info)
        frontend.press_run()
        frontend.page.wait_for_function(BOTH_VIDEOS, timeout=SECONDS_TO_RUN * 1000)
    assert frontend.dialogs() == []
    assert complaints == []

    titles = {node["id"]: node["title"] for node in frontend.nodes()}
    widths = {titles[int(key)]: width for key, width in frontend.video_widths().items()}
    assert widths == {"Low-resolution preview": 128, "High-resolution video": 256, "S²Flow Compare": 256}
    (report,) = (node for node in frontend.nodes() if node["type"] == "PreviewAny")
    assert any("Attention looks at" in str(widget["value"]) for widget in report["widgets"])
    # The nodes had room for their videos, and no seed moves by itself: a second press finds the small video.
    assert places(frontend) == before
    require_apart(frontend.nodes())
    require_grouped(frontend.nodes(), frontend.groups())
    assert known_inputs(frontend.prompt(), comfyui_server.object_info) == prompt


def places(frontend: Frontend) -> dict[int, list[float]]:
    """x, y and width of every node; later versions make it higher for its video."""
    return {node["id"]: node["box"][:3] for node in frontend.nodes()}
