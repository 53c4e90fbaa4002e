"""`python -m demo.picture`: runs the demo's workflows and makes the pictures that artists see first.

The README's picture, a thumbnail for each workflow of the demo, and a sheet of videos that nobody chose.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from comfyui_runner.client import ComfyClient
from comfyui_runner.installation import ROOT, comfyui_path
from comfyui_runner.ports import free_port
from comfyui_runner.server import ComfyServer
from comfyui_runner.workflow_api import to_api

from .measure import held_out_cases
from .run_demo.__main__ import WORKFLOW, large_video, saved_videos
from .run_demo.side_by_side import write_side_by_side
from .run_demo.video_files import read_facts, read_frames
from .vocabulary import Prompt

IMAGES = ROOT / "web" / "images"
README_PICTURE, SHEET = IMAGES / "quickstart.png", IMAGES / "sixteen.jpg"
WORKFLOWS = sorted((ROOT / "workflows").glob("*, no download.json"))
NAMES = [SHEET.stem, *(file.stem for file in WORKFLOWS)]
# Moments of the video that the README shows, as shares of its length.
MOMENTS = (0.15, 0.85)
THUMBNAIL_EDGE = 256
UNCHOSEN, SHEET_COLUMNS, CELL, BAND = 16, 4, 192, 20
INK, PAPER = (235, 235, 235), (24, 24, 24)
OPEN_GATE = {"S2FlowPreviewGate": {"go": True}}
Changes = dict[str, dict[str, Any]]


class Studio:
    """Runs the demo's workflows on one server; changes: inputs by the class of their node."""

    def __init__(self, server: ComfyServer):
        self.server = server
        self.client = ComfyClient(server.url, server.require_alive)
        self.definitions = self.client.object_info()

    def videos(self, file: Path, changes: Changes) -> dict[str, Path]:
        """Every video that a workflow saves, by its prefix."""
        prompt = to_api(json.loads(file.read_text(encoding="utf-8")), self.definitions)
        for node in prompt.values():
            node["inputs"] |= changes.get(node["class_type"], {})
        run = self.client.finish(list(self.client.follow(prompt)))
        if run.error is not None:
            raise SystemExit(f"{file.name}: {run.error}")
        return saved_videos(run, self.server.output)


def frame_at(video: Path, moment: float) -> Image.Image:
    """moment: share of the video's length."""
    frames = list(read_frames(video))
    return frames[round(moment * (len(frames) - 1))]


def largest(videos: Iterable[Path]) -> Path:
    return max(videos, key=lambda video: read_facts(video).width)


def in_rows(images: list[Image.Image], columns: int) -> Image.Image:
    """Images of equal size, row by row."""
    width, height = images[0].size
    sheet = Image.new("RGB", (width * columns, height * -(-len(images) // columns)), PAPER)
    for n, image in enumerate(images):
        sheet.paste(image, (n % columns * width, n // columns * height))
    return sheet


def pair(small: Image.Image, large: Image.Image, text: str) -> Image.Image:
    """The small picture, enlarged, beside the large one, below a line of text."""
    both = Image.new("RGB", (2 * CELL, BAND + CELL), PAPER)
    ImageDraw.Draw(both).text((4, BAND / 2), text, INK, ImageFont.load_default(12), anchor="lm")
    for n, picture in enumerate((small, large)):
        both.paste(picture.resize((CELL, CELL), Image.Resampling.BICUBIC), (n * CELL, BAND))
    return both


def readme_picture(videos: dict[str, Path], work: Path) -> Image.Image:
    """The small and the large video side by side, at two moments."""
    name, both = large_video(videos), work / "both.mp4"
    write_side_by_side(videos[f"{name}_preview"], videos[name], both)
    return in_rows([frame_at(both, moment) for moment in MOMENTS], len(MOMENTS))


def unchosen(studio: Studio, count: int) -> Image.Image:
    """The quickstart with the first held-out prompts and their seeds, half-way through each video."""
    pairs = []
    for prompt, seed in held_out_cases(count):
        videos = studio.videos(WORKFLOW, asked(prompt, seed))
        name = large_video(videos)
        small, large = (frame_at(videos[key], 0.5) for key in (f"{name}_preview", name))
        pairs.append(pair(small, large, prompt.caption))
        print(prompt.caption, flush=True)
    return in_rows(pairs, SHEET_COLUMNS)


def asked(prompt: Prompt, seed: int) -> Changes:
    words: dict[str, Any] = dict(zip(("color", "shape", "direction", "ground"), prompt.words, strict=True))
    return {"S2FlowDemoPrompt": words, "RandomNoise": {"noise_seed": seed}}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", default="", metavar="NAME", help=f"'{SHEET.stem}', or how a workflow's name begins"
    )
    parser.add_argument("--count", type=int, default=UNCHOSEN, help="videos in the sheet")
    options = parser.parse_args()
    files = [file for file in WORKFLOWS if file.name.startswith(options.only)]
    with_sheet = SHEET.stem.startswith(options.only)
    if not files and not with_sheet:
        parser.error(f"--only {options.only}: no workflow's name begins so; there are {', '.join(NAMES)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        ComfyServer(comfyui_path(), Path(sys.executable), free_port(), Path(work), cpu=True) as server,
    ):
        studio = Studio(server)
        for file in files:
            videos = studio.videos(file, OPEN_GATE)
            picture = frame_at(largest(videos.values()), MOMENTS[-1])
            picture.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
            picture.save(file.with_suffix(".jpg"), quality=90)
            if file == WORKFLOW:
                readme_picture(videos, Path(work)).save(README_PICTURE, optimize=True)
            print(file.name, flush=True)
        if with_sheet:
            unchosen(studio, options.count).save(SHEET, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
