"""Node inputs written once for hosts that differ in what a schema can say."""

from __future__ import annotations

from typing import TypeVar

from comfy_api.latest import io

CATEGORY = "S²Flow"

Widget = TypeVar("Widget", bound=io.Input)

TrajectoryType = io.Custom("S2FLOW_TRAJECTORY")
WindowsType = io.Custom("S2FLOW_WINDOWS")
# ComfyUI 0.3.75 checks "*" of a new-style node literally; a list of types fits wherever one of them does.
AnyResultType = io.Custom("VIDEO,IMAGE,LATENT")


def advanced(widget: Widget) -> Widget:
    """Folds a widget under "advanced"; ComfyUI before 0.4 has no argument for it but obeys the key."""
    if hasattr(widget, "advanced"):
        widget.advanced = True
    else:
        widget.extra_dict["advanced"] = True
    return widget
