"""`python -m templates`: writes what artists load and see: workflows, blueprints, locales, pictures, tables.

Files of models that ComfyUI 0.3.75 has are written with it; set COMFYUI_PATH to a newer one for the rest.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from comfyui_runner.client import ComfyClient
from comfyui_runner.installation import comfyui_path
from comfyui_runner.ports import free_port
from comfyui_runner.server import ComfyServer
from templates import blueprints, brand, cards, locales
from templates.recipes import RECIPES
from templates.thumbnail import picture_of
from templates.writing import content_of, file_of, is_newer, recipes_of


def main() -> int:
    python = Path(os.environ.get("COMFYUI_PYTHON") or sys.executable)
    with (
        tempfile.TemporaryDirectory() as work,
        ComfyServer(comfyui_path(), python, free_port(), Path(work), cpu=True) as server,
    ):
        definitions = ComfyClient(server.url, server.require_alive).object_info()
    of_the_pack = {name: one for name, one in definitions.items() if name.startswith("S2Flow")}
    for language in locales.LANGUAGES:
        locales.file_of(language).parent.mkdir(parents=True, exist_ok=True)
        locales.file_of(language).write_text(locales.content_of(language, of_the_pack), encoding="utf-8")
    cards.README.write_text(cards.with_table(cards.README.read_text(encoding="utf-8")), encoding="utf-8")
    for path, content in brand.files().items():
        path.write_bytes(content)
    if not is_newer(definitions):
        blueprints.SUBGRAPHS.mkdir(exist_ok=True)
        for blueprint in blueprints.blueprints_of(definitions):
            blueprints.file_of(blueprint).write_text(blueprint.text(), encoding="utf-8")
    for recipe in recipes_of(definitions):
        file_of(recipe).write_text(content_of(recipe, definitions), encoding="utf-8")
        if recipe in RECIPES:  # those of the demo show a frame of their run: `python -m demo.picture`
            file_of(recipe).with_suffix(".jpg").write_bytes(picture_of(recipe))
        print(file_of(recipe).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
