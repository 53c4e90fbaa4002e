"""What a workflow for a published model is: its files, sizes and settings, each by the name artists know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.pipeline.models import VideoSize
from templates.canvas import Canvas
from templates.node import Output

PAPER_S = 0.5


@dataclass(frozen=True)
class Settings:
    """steps, cfg and shift as core's template of the model has them, except where `why` says otherwise.

    t_i: 0 takes `share` of the steps. boundary: sigma between two experts. size: of the small video; scale:
    of the large one's sides. fps: frames a second. why: what differs from core's template, for the note.
    t_i_again: steps of a second enlargement by the same scale; 0 is none.
    """

    size: VideoSize
    steps: int
    cfg: float
    shift: float
    fps: float
    t_i: int = 0
    share: float = 0.6
    s: float = PAPER_S
    scale: float = 2.0
    boundary: float = 0.875
    why: str = ""
    t_i_again: int = 0

    @property
    def large(self) -> VideoSize:
        times = self.scale ** (2 if self.t_i_again else 1)
        width, height = (round(side * times) for side in (self.size.width, self.size.height))
        return replace(self.size, width=width, height=height)

    @property
    def steps_left(self) -> int:
        return self.t_i or round(self.share * self.steps)


@dataclass(frozen=True)
class Source:
    """Everything that both runs begin with. large_guiders: with pictures of the large size.

    guiders: one, or the high-noise and the low-noise expert. vae: decodes the picture, sound_vae
    the sound. tiled: decode in tiles. enlarge_in_pixels: Upsample gets the VAE.
    """

    guiders: tuple[Output, ...]
    large_guiders: tuple[Output, ...]
    sigmas: Output
    latent: Output
    vae: Output
    sound_vae: Output | None = None
    tiled: bool = False
    enlarge_in_pixels: bool = True


@dataclass(frozen=True)
class Recipe:
    """name: of the file, which the template browser shows. source: puts the loaders and prompts on a canvas.

    counted: the model's name in benchmarks/pipeline, "" where its memory is not counted. since: the first
    ComfyUI of the tested ones that has all nodes. prefix: of the saved files. about: first words of the note.
    note: instead of the one about a published model's files and memory.
    """

    name: str
    prefix: str
    about: str
    settings: Settings
    source: Callable[[Canvas, Recipe], Source]
    files: tuple[str, ...]
    counted: str = ""
    since: tuple[int, int] = (0, 3)
    prompt: str = ""
    note: str = ""
    options: dict[str, Any] | None = None
