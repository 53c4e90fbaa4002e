"""A ComfyUI that is too old loads the pack without its nodes, and is told why in one line."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from comfyui_runner.installation import ROOT


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.3.74", "0.3.75 or later, and this is 0.3.74"),
        ("0.3.9", "and this is 0.3.9"),
        ("0.2", "and this is 0.2"),
        (None, "and this one is older"),
    ],
)
def test_an_older_one_gets_no_nodes_and_one_line(comfy_modules, monkeypatch, caplog, tmp_path, version, said):
    # None in sys.modules makes an import fail.
    module = None if version is None else SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "comfyui_version", module)
    before = dict(comfy_modules.nodes.NODE_CLASS_MAPPINGS)
    with caplog.at_level(logging.INFO):
        assert load_as(tmp_path / "Pack", comfy_modules)
    assert before == comfy_modules.nodes.NODE_CLASS_MAPPINGS
    assert not [name for name in sys.modules if name.endswith("Pack.nodes.extension")]
    (line,) = [record.getMessage() for record in caplog.records]
    assert said in line and "Update ComfyUI" in line


@pytest.mark.parametrize("version", ["0.3.75", "0.3.100", "v0.33.0", "0.46.1-dev", "1", "unknown"])
def test_any_other_gets_them(comfy_modules, monkeypatch, version):
    monkeypatch.setitem(sys.modules, "comfyui_version", SimpleNamespace(__version__=version))
    assert comfy_modules.pack("nodes.needed_version").refusal() is None


def load_as(link: Path, comfy_modules) -> bool:
    """Whether ComfyUI takes the pack that a link of this name leads to."""
    link.symlink_to(ROOT, target_is_directory=True)
    return asyncio.run(comfy_modules.nodes.load_custom_node(str(link)))
