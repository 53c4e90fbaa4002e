"""Reads a manifest: which workflow, which clips, where results go and what makes them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from comfyui_runner.installation import ROOT, comfyui_path

from .comfy_options import arguments_of
from .refusal import Refusal, nearest

TEXTS = ("workflow", "store", "comfyui", "python", "models", "inputs", "rows")
KEYS = (*TEXTS, "args", "custom_nodes", "gpus_per_clip", "table")


@dataclass(frozen=True)
class Manifest:
    """What a run of the farm is to make.

    file: the manifest itself; relative paths in it start at its folder. store: results, the same path on
    every machine. arguments: more of ComfyUI's. custom_nodes: folders of other packs that the workflow needs,
    in ComfyUI's custom_nodes. models, inputs: folders of model files and of files that the
    workflow loads, beside or in place of ComfyUI's. gpus_per_clip: 0 on the CPU. table: address -> values.
    """

    file: Path
    workflow: Path
    store: Path
    comfyui: Path
    python: Path
    arguments: tuple[str, ...] = ()
    custom_nodes: tuple[str, ...] = ()
    models: Path | None = None
    inputs: Path | None = None
    gpus_per_clip: float = 1
    table: dict[str, Any] = field(default_factory=dict)
    rows: Path | None = None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML itself would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)
        if len(content) < len(node.value):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise Refusal(f"'{twice}' stands twice{node.start_mark}. Keep one of them.")
        return content


def read_manifest(file: Path) -> Manifest:
    """The manifest of a YAML file; raises Refusal for everything that is wrong with it."""
    content = parsed(file)
    for key in content:
        if key not in KEYS:
            raise Refusal(f"{file.name}: '{key}' is unknown{nearest(str(key), KEYS)}.")
    for key in ("workflow", "store"):
        if not content.get(key):
            raise Refusal(f"{file.name} names no {key}. Add a line such as {key}: {EXAMPLES[key]}")
    for key in TEXTS:
        if not isinstance(content.get(key, ""), str):
            raise Refusal(f"{file.name}: {key} is the path of a file or folder, not {content[key]!r}.")
    table = content.get("table") or {}
    if not isinstance(table, dict):
        raise Refusal(f"{file.name}: table is a list of lines such as  Positive.text: [a cat, a dog]")
    python, comfyui = content.get("python"), comfyui_of(file, content)
    return Manifest(
        file=file,
        workflow=required_file(file, content, "workflow"),
        store=placed(file, content["store"]),
        comfyui=comfyui,
        python=required_file(file, content, "python") if python else Path(sys.executable),
        arguments=arguments_of(file, content.get("args")),
        custom_nodes=custom_nodes_of(file, content.get("custom_nodes"), comfyui),
        models=required_folder(file, content, "models"),
        inputs=required_folder(file, content, "inputs"),
        gpus_per_clip=gpus_of(file, content.get("gpus_per_clip", 1)),
        table={str(address): values for address, values in table.items()},
        rows=required_file(file, content, "rows") if content.get("rows") else None,
    )


EXAMPLES = {"workflow": "beach_api.json", "store": "/mnt/share/beach"}


def parsed(file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as problem:
        raise Refusal(f"{file} cannot be read: {problem.strerror}.") from problem
    except UnicodeDecodeError as problem:
        raise Refusal(f"{file} is no text in UTF-8. Save it as UTF-8.") from problem
    except yaml.YAMLError as problem:
        raise Refusal(f"{file.name} is no YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(content, dict):
        raise Refusal(f"{file.name} is empty. It needs a workflow and a store; docs/farm.md shows one.")
    return content


def placed(file: Path, text: str) -> Path:
    """An absolute path; ~ is the home folder. Links are kept, since they may be what machines share."""
    return file.absolute().parent / Path(text).expanduser()


def required_file(file: Path, content: dict[str, Any], key: str) -> Path:
    path = placed(file, content[key])
    if not path.is_file():
        folder = path.parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        near = nearest(path.name, names) if len(names) < 1000 else ""
        raise Refusal(f"{file.name}: {key} {path} does not exist{near if 'nearest' in near else ''}.")
    return path


def required_folder(file: Path, content: dict[str, Any], key: str) -> Path | None:
    if not content.get(key):
        return None
    path = placed(file, content[key])
    if not path.is_dir():
        raise Refusal(f"{file.name}: {key} {path} is no folder.")
    return path


def comfyui_of(file: Path, content: dict[str, Any]) -> Path:
    """The ComfyUI that is named, or that this pack lies in, or COMFYUI_PATH."""
    named = content.get("comfyui")
    around = ROOT.parent.parent
    if named:
        path = placed(file, named)
    elif (around / "main.py").is_file() and ROOT.parent.name == "custom_nodes":
        path = around
    else:
        try:
            path = comfyui_path()
        except SystemExit as problem:
            raise Refusal(f"{file.name} names no comfyui. Add  comfyui: /path/to/ComfyUI") from problem
    if not (path / "main.py").is_file():
        raise Refusal(f"{file.name}: comfyui {path} is no ComfyUI: it holds no main.py.")
    return path


def custom_nodes_of(file: Path, value: Any, comfyui: Path) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list):
        raise Refusal(f"{file.name}: custom_nodes are names of folders, as in  custom_nodes: [ComfyUI-GGUF]")
    packs = comfyui / "custom_nodes"
    there = [entry.name for entry in packs.iterdir()] if packs.is_dir() else []
    for name in names:
        if name not in there:
            raise Refusal(f"{file.name}: custom_nodes: {packs} holds no '{name}'{nearest(str(name), there)}.")
    return tuple(names)


def gpus_of(file: Path, value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    if not good or (value > 1 and value != int(value)):
        raise Refusal(
            f"{file.name}: gpus_per_clip is {value!r}; give a whole number, 0 for the CPU, "
            "or a share such as 0.5."
        )
    return value
