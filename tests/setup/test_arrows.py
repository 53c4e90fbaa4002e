"""Who may import whom: the repository keeps every contract, and an import against the arrows is named."""

from __future__ import annotations

import shutil
from configparser import ConfigParser
from pathlib import Path

import pytest

from setup.arrows import check_arrows
from setup.places import ROOT


def folders() -> list[str]:
    """What the contracts look at: the pack's own folders and every command's."""
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    commands = set(contracts["importlinter"]["root_packages"].split()) - {"pack"}
    return ["nodes", "s2flow_core", *sorted(commands)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The Python files of the repository, to plant imports into."""
    root = tmp_path / "repository"
    for folder in folders():
        shutil.copytree(
            ROOT / folder,
            root / folder,
            ignore=lambda place, names: [n for n in names if "." in n and not n.endswith(".py")],
        )
    for file in ("__init__.py", ".importlinter"):
        shutil.copy(ROOT / file, root / file)
    return root


def test_every_contract_is_kept(capfd):
    assert check_arrows() == 0, capfd.readouterr().out


@pytest.mark.parametrize(
    ("file", "planted", "broken"),
    [
        ("s2flow_core/latent/flow.py", "from ..plan import policies", "Inside the method"),
        ("s2flow_core/windows/grid.py", "import comfy.utils", "The method imports no ComfyUI"),
        ("s2flow_core/reach/rows.py", "from ...nodes import extension", "Nodes know ComfyUI"),
        ("s2flow_core/plan/budget.py", "import triton", "Triton is imported by"),
        ("nodes/host/families/wan.py", "from ..sampling import guided", "Inside nodes/host"),
        ("nodes/upsample.py", "from . import solver", "Node files are thin"),
        ("nodes/upsample.py", "import comfy.utils", "Node files leave the insides"),
        ("nodes/preview.py", "from ..training import loop", "What ComfyUI loads"),
        ("nodes/preview.py", "from ..demo import generate", "Of the demo, the pack uses"),
        ("demo/vocabulary.py", "import training.loop", "Benchmarks stand on training"),
        ("s2flow_core/windows/grid.py", "from . import extents", "in a circle"),
    ],
)
def test_a_planted_import_is_named(copy: Path, capfd, file: str, planted: str, broken: str):
    path = copy / file
    text = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    assert marker in text
    path.write_text(text.replace(marker, f"{marker}\n{planted}\n", 1), encoding="utf-8")
    assert check_arrows(copy) == 1
    said = " ".join(capfd.readouterr().out.split())
    assert broken in said.partition("Broken contracts")[2]
