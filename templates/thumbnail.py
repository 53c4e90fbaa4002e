"""The picture that the template browser shows: the small frame inside the large one, to scale."""

from __future__ import annotations

import hashlib
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from templates.recipe import Recipe

WIDTH, HEIGHT, EDGE, LINE = 512, 320, 24, 30
DARK, LIGHT = (24, 26, 32), (235, 235, 235)


def picture_of(recipe: Recipe) -> bytes:
    """JPEG. Of real models nothing has been run yet, so it shows sizes and no video."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), DARK)
    draw = ImageDraw.Draw(picture)
    small, large = recipe.settings.size, recipe.settings.large
    scale = min((WIDTH - 2 * EDGE) / large.width, (HEIGHT - 3 * LINE - EDGE) / large.height)
    color = color_of(recipe.prefix)
    for size, fill in ((large, tuple(c // 3 for c in color)), (small, color)):
        right, bottom = EDGE + scale * size.width, HEIGHT - EDGE
        draw.rectangle((EDGE, bottom - scale * size.height, right, bottom), fill=fill, outline=LIGHT)
    # Pillow's own font has no multiplication sign.
    text = [recipe.name.split(" ", 1)[1], f"{small.width}x{small.height} to {large.width}x{large.height}"]
    for row, line in enumerate(text):
        draw.text((EDGE, 12 + LINE * row), line, LIGHT, ImageFont.load_default(20 - 3 * row))
    file = BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def color_of(name: str) -> tuple[int, int, int]:
    red, green, blue = hashlib.sha256(name.encode()).digest()[:3]
    return 90 + red // 2, 90 + green // 2, 90 + blue // 2
