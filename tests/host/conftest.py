"""A real ComfyUI inside the test process; the one that runs as a server is in running_comfy.py.

ComfyUI has a module `nodes`, and so has this repository. The in-process host therefore goes to the front of
sys.path before anything imports that name, and the pack itself is loaded as ComfyUI loads it: by its path.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_wan import wan_graph
from two_devices import always_shared

from comfyui_runner.installation import comfyui_path, import_comfy
from comfyui_runner.pack_link import GENERATED, PACK_NAME, link_pack


@dataclass(frozen=True)
class ComfyModules:
    """ComfyUI inside this process. nodes: its module of that name, core and extra nodes registered."""

    nodes: ModuleType
    pack_name: str

    def pack(self, name: str) -> ModuleType:
        """A module of the loaded pack, e.g. `pack("s2flow_core.grid")`.

        These are other copies than what `import s2flow_core.grid` gives; do not mix their classes.
        """
        return importlib.import_module(f"{self.pack_name}.{name}")

    def node(self, node_id: str) -> Any:
        """The class of a node, of ComfyUI's own or of the pack's."""
        return self.nodes.NODE_CLASS_MAPPINGS[node_id]


@pytest.fixture(scope="session")
def comfy_modules() -> ComfyModules:
    """Imports ComfyUI for the CPU and lets it load the pack, as it does when it starts."""
    import_comfy()
    importlib.import_module("comfy.cli_args").args.cpu = True
    nodes = importlib.import_module("nodes")
    found = Path(str(nodes.__file__)).resolve()
    assert found == (comfyui_path() / "nodes.py").resolve(), f"'nodes' was imported from {found}"
    link_pack(comfyui_path())
    folder = str(GENERATED / "custom_nodes" / PACK_NAME)
    assert asyncio.run(load_everything(nodes, folder)), "ComfyUI could not load the pack; its log says why"
    return ComfyModules(nodes, folder.replace(".", "_x_"))


async def load_everything(nodes: ModuleType, pack_folder: str) -> bool:
    await nodes.init_builtin_extra_nodes()
    return await nodes.load_custom_node(pack_folder)


@pytest.fixture(scope="module")
def graph(comfy_modules: ComfyModules) -> Any:
    """The pack's nodes on a small random Wan; a file may have one of its own."""
    return wan_graph(comfy_modules)


@pytest.fixture(scope="module")
def record(graph: Any) -> Any:
    """(trajectory, what Upsample gives, windows at s = 0.5) of that graph."""
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    return trajectory, triple, graph.windows(trajectory, triple[0], s=0.5)


@pytest.fixture
def no_fall_back(caplog):
    """Every attention of the video must have been served."""
    with caplog.at_level("WARNING"):
        yield
    assert not [record for record in caplog.records if "leaves attention unchanged" in record.message]


@pytest.fixture
def output_folder(comfy_modules: ComfyModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that ComfyUI takes for its output folder; the input folder is empty too."""
    folder_paths = importlib.import_module("folder_paths")
    for name in ("output", "input"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr(folder_paths, f"get_{name}_directory", lambda folder=folder: str(folder))
    return tmp_path / "output"


@pytest.fixture
def shares(comfy_modules: ComfyModules, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two devices that share from the first call on; how many heads a helper took in each call."""
    return always_shared(comfy_modules, monkeypatch)
