"""S²Flow Demo Prompt: the small model's vocabulary as drop-downs, in place of a text encoder."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo.vocabulary import COLORS, DIRECTIONS, GROUNDS, SHAPES, Prompt, embed_prompt
from .host.found_by import found_by
from .host.inputs import CATEGORY


class S2FlowDemoPrompt(io.ComfyNode):
    """A prompt for the small demo model from four drop-downs, without a text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowDemoPrompt",
            **found_by("demo", "prompt", "text"),
            display_name="S²Flow Demo Prompt",
            category=f"{CATEGORY}/demo",
            description=(
                "Prompts the small demo model that ships with the pack. For a real model, use its own text "
                "encoder (Load CLIP and CLIP Text Encode) instead."
            ),
            inputs=[
                io.Combo.Input("color", options=list(COLORS), default="red", tooltip="Colour of the shape."),
                io.Combo.Input(
                    "shape", options=list(SHAPES), default="circle", tooltip="What moves through the video."
                ),
                io.Combo.Input(
                    "direction",
                    options=list(DIRECTIONS),
                    default="right",
                    tooltip="Where the shape moves to.",
                ),
                io.Combo.Input(
                    "ground", options=list(GROUNDS), default="water", tooltip="What the shape moves over."
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive", tooltip="The prompt, for the positive input of a guider."
                ),
                io.Conditioning.Output(
                    display_name="empty", tooltip="The empty prompt, for the negative input."
                ),
            ],
        )

    @classmethod
    def execute(cls, color: str, shape: str, direction: str, ground: str) -> io.NodeOutput:
        prompt = Prompt(color, shape, direction, ground)
        positive, empty = ([[embed_prompt(given), {}]] for given in (prompt, None))
        return io.NodeOutput(positive, empty)
