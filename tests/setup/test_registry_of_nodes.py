"""What the registry of nodes asks of a pack: its facts, its pictures, and what is not shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, COMFY = FACTS["project"], FACTS["tool"]["comfy"]


def test_the_projects_facts_are_such_as_it_takes():
    assert (
        re.fullmatch(r"[a-z][a-z0-9._-]{0,98}", PROJECT["name"]) and "comfyui" not in PROJECT["name"].lower()
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert (ROOT / PROJECT["license"]["file"]).is_file() and PROJECT["description"]
    assert PROJECT["urls"]["Repository"].startswith("https://github.com/")
    assert PROJECT["requires-python"]


def test_comfys_facts_are_complete():
    assert COMFY["PublisherId"] and COMFY["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", COMFY["requires-comfyui"])


@pytest.mark.parametrize(("key", "ratio", "most"), [("Icon", 1.0, 400), ("Banner", 21 / 9, 2100)])
def test_pictures_are_shipped_in_the_shape_that_is_asked(key, ratio, most):
    address = COMFY[key]
    repository = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    start = f"https://raw.githubusercontent.com/{repository}/main/"
    assert address.startswith(start)
    with Image.open(ROOT / address.removeprefix(start)) as picture:
        assert picture.width / picture.height == pytest.approx(ratio, rel=0.01) and picture.width <= most


def test_requirements_are_those_of_the_project():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == PROJECT["dependencies"]


@pytest.mark.parametrize(
    "shipped", ["nodes", "s2flow_core", "workflows", "subgraphs", "locales", "web", "docs"]
)
def test_what_artists_use_is_shipped(shipped):
    ignored = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    assert (ROOT / shipped).is_dir() and f"{shipped}/" not in ignored
    assert {"tests/", "benchmarks/", "setup/", "templates/"} <= set(ignored)
