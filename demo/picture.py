"""`python -m demo.picture`: the pictures of the README and the template browser, from the demo's videos."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from comfyui_runner.installation import ROOT

from .run_demo.video_files import read_frames

VIDEOS = ROOT / "output"
README_PICTURE = ROOT / "web" / "images" / "quickstart.png"
THUMBNAIL = ROOT / "workflows" / "01 Quickstart, no download.jpg"
# Moments of the video that the README shows, as shares of its length.
MOMENTS = (0.15, 0.85)


def moments_of(video: Path) -> list[Image.Image]:
    frames = list(read_frames(video))
    return [frames[round(moment * (len(frames) - 1))] for moment in MOMENTS]


def beside(images: list[Image.Image]) -> Image.Image:
    """Images of equal height in a row."""
    sheet = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width
    return sheet


def main() -> None:
    side_by_side = VIDEOS / "s2flow_quickstart_side_by_side.mp4"
    result = VIDEOS / "s2flow_quickstart.mp4"
    for video in (side_by_side, result):
        if not video.is_file():
            raise SystemExit(f"{video.name} is missing from output/: run ./demo.sh first")
    README_PICTURE.parent.mkdir(parents=True, exist_ok=True)
    beside(moments_of(side_by_side)).save(README_PICTURE, optimize=True)
    moments_of(result)[-1].save(THUMBNAIL, quality=90)


if __name__ == "__main__":
    main()
