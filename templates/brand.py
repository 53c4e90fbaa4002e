"""Icon and banner for the registry of nodes: the small frame in the large one, and what the demo made."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from comfyui_runner.installation import ROOT
from templates.thumbnail import DARK, LIGHT

IMAGES = ROOT / "web" / "images"
MADE_BY_THE_DEMO = IMAGES / "quickstart.png"
SIDE, BANNER = 400, (1260, 540)  # the registry takes squares of at most 400 pixels, and 21:9
SMALL, LARGE = (181, 139, 42), (63, 120, 158)


def files() -> dict[Path, bytes]:
    return {IMAGES / "icon.png": as_png(icon()), IMAGES / "banner.png": as_png(banner())}


def icon() -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), DARK)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle(
        (40, 40, 360, 360), 36, fill=tuple(part // 2 for part in LARGE), outline=LARGE, width=8
    )
    draw.rounded_rectangle((40, 200, 200, 360), 24, fill=SMALL)
    draw.line((200, 200, 340, 60), fill=LIGHT, width=12)
    draw.polygon([(352, 48), (300, 62), (338, 100)], fill=LIGHT)
    return picture


def banner() -> Image.Image:
    picture = Image.new("RGB", BANNER, DARK)
    with Image.open(MADE_BY_THE_DEMO) as made:
        scale = (BANNER[0] - 80) / made.width
        shown = made.convert("RGB").resize(
            (BANNER[0] - 80, round(made.height * scale)), Image.Resampling.LANCZOS
        )
    picture.paste(shown, (40, BANNER[1] - shown.height - 40))
    draw = ImageDraw.Draw(picture)
    # Pillow's own font has no superscript.
    draw.text(
        (40, 36), "S2Flow: video at twice the size, without training", LIGHT, ImageFont.load_default(48)
    )
    draw.text(
        (40, 104), "left: the small run, enlarged; right: the large one", LIGHT, ImageFont.load_default(30)
    )
    return picture


def as_png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
