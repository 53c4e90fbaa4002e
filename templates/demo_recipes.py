"""Workflows for the small model that comes with the pack, as far as they are written by rule."""

from __future__ import annotations

from benchmarks.pipeline.models import VideoSize
from templates.recipe import Recipe, Settings
from templates.sources import demo

CHAIN_NOTE = """## Chain to four times the size

The large run becomes the small one of another enlargement: 128² to 256² to 512² here, and for a real model \
1280×768 to 2560×1536 to 5120×3072.

- **record** is on in the first *High-Res Sampler*, so that it gives a **trajectory**. It needs main memory \
for every step's latent, so it is off by default.
- The second *Upsample* and *Window Mask* take that trajectory. The attention is the small run's: it is kept \
by shares of the frame, and so fits any size.
- **t_i** is smaller the second time: layout and objects are decided, only detail is missing.
- Too soft: raise the second **t_i**. Too slow: lower the second **s**. What comes before is not run again.

For a real model, take the loaders and the prompts from its own workflow (10 to 23)."""

DEMO_RECIPES = [
    Recipe(
        "06 Chain to four times the size, no download", "s2flow_chain", "Two enlargements in a row.",
        Settings(VideoSize(128, 128, 17), steps=50, cfg=4, shift=3, fps=12, t_i=12, t_i_again=6), demo,
        ("s2flow_demo_wan_t2v.safetensors", "s2flow_demo_wan_vae.safetensors"), note=CHAIN_NOTE,
        options={"color": "green", "shape": "triangle", "direction": "left", "ground": "water"},
    ),
]  # fmt: skip
