"""Makes the ComfyUI that the demo runs in importable, so that training uses its own model classes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def comfyui_path() -> Path:
    """The folder of the host: COMFYUI_PATH, or the one that ./demo.sh sets up."""
    path = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".comfyui")
    if not (path / "comfy" / "model_management.py").is_file():
        raise SystemExit(f"no ComfyUI in {path}: run ./demo.sh once, or set COMFYUI_PATH to a ComfyUI folder")
    return path


def load_pack() -> ModuleType:
    """Loads the pack by its path, as ComfyUI does; a plain import would meet ComfyUI's own `nodes`."""
    name = "s2flow_pack"
    if name not in sys.modules:
        import_comfy()
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def import_comfy() -> None:
    """Puts the host on sys.path and selects the CPU where there is no GPU."""
    path = str(comfyui_path())
    if path not in sys.path:
        sys.path.insert(0, path)
    import comfy.cli_args
    import torch

    if not torch.cuda.is_available():
        comfy.cli_args.args.cpu = True


def import_exact_comfy() -> None:
    """`import_comfy` for figures: in float32 on a GPU too, where ComfyUI would compute in half precision."""
    import_comfy()
    import comfy.cli_args
    import torch

    # Read when ComfyUI's model management is imported, which `import_comfy` alone does not do.
    comfy.cli_args.args.force_fp32 = True
    torch.backends.cudnn.allow_tf32 = False


def computes_on() -> str:
    """The type of the device that ComfyUI computes on, e.g. "cpu" or "cuda"."""
    import comfy.model_management

    return comfy.model_management.get_torch_device().type
