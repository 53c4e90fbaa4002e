"""What the nodes say, as ComfyUI's locales hold it: names, descriptions and tooltips by input and output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import definition_inputs

Json = dict[str, Any]
LOCALES = ROOT / "locales"
# English text -> the same in another language. Names of one word are those of inputs, and stay.
TRANSLATIONS = {path.stem: path for path in sorted((Path(__file__).parent / "translations").glob("*.json"))}
LANGUAGES = ("en", *TRANSLATIONS)


def texts_of(definition: Json) -> Json:
    """One node's entry of locales/en/nodeDefs.json. definition: as GET /object_info answers."""
    inputs = {}
    for name, (_, *rest) in definition_inputs(definition):
        said = rest[0] if rest else {}
        inputs[name] = {"name": said.get("display_name") or name, "tooltip": said.get("tooltip") or ""}
    tooltips = definition.get("output_tooltips") or []
    outputs = {
        str(n): {"name": name, "tooltip": tooltips[n] or ""}
        for n, name in enumerate(definition["output_name"])
    }
    texts: Json = {"display_name": definition["display_name"], "description": definition["description"]}
    return texts | {"inputs": inputs} | ({"outputs": outputs} if outputs else {})


def every_text(texts: Json) -> Iterator[str]:
    for value in texts.values():
        if isinstance(value, dict):
            yield from every_text(value)
        else:
            yield value


def wants_translation(text: str) -> bool:
    return " " in text


def translated(texts: Json, words: Mapping[str, str]) -> Json:
    """The same entry in another language. Raises KeyError for a text that is not translated."""
    return {
        name: translated(value, words)
        if isinstance(value, dict)
        else (words[value] if wants_translation(value) else value)
        for name, value in texts.items()
    }


def words_of(language: str) -> dict[str, str]:
    return json.loads(TRANSLATIONS[language].read_text(encoding="utf-8"))


def file_of(language: str) -> Path:
    return LOCALES / language / "nodeDefs.json"


def content_of(language: str, definitions: Mapping[str, Json]) -> str:
    """What stands in a language's file. definitions: of the pack's nodes."""
    texts = {node: texts_of(definition) for node, definition in sorted(definitions.items())}
    if language != "en":
        texts = translated(texts, words_of(language))
    return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"
