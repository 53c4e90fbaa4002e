"""`python -m demo.run_demo`: runs the bundled workflow in a real ComfyUI and leaves the videos in output/.

./demo.sh sets everything up and then calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from comfyui_runner.client import ComfyClient, PromptRefused, Run
from comfyui_runner.installation import ROOT, comfyui_path
from comfyui_runner.server import LOG_NAME, ComfyServer, ServerFailed
from comfyui_runner.workflow_api import to_api
from setup.disk import is_disk_full, require_free_space
from setup.places import generated_folder
from setup.refusal import Refusal

from .progress import RunProgress, titles_of
from .report import report_lines
from .side_by_side import write_side_by_side

WORKFLOW = ROOT / "workflows" / "01 Quickstart, no download.json"
OUTPUT = ROOT / "output"
DEFAULT_PORT = 8188
GIGABYTES_OF_OUTPUT = 0.5


def has_gpu() -> bool:
    """Whether ComfyUI can start without --cpu here."""
    import torch

    xpu = getattr(torch, "xpu", None)
    return torch.cuda.is_available() or torch.backends.mps.is_available() or bool(xpu and xpu.is_available())


def chosen_port() -> int:
    text = os.environ.get("S2FLOW_PORT", str(DEFAULT_PORT))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Refusal(f"S2FLOW_PORT={text} is no port number; use one from 1024 to 65535.")
    return int(text)


def run_workflow(server: ComfyServer, workflow: dict[str, Any]) -> tuple[dict[str, Any], Run, RunProgress]:
    """Queues a workflow and shows its progress; raises Refusal when it does not end well."""
    client = ComfyClient(server.url, server.require_alive)
    prompt = to_api(workflow, client.object_info())
    progress = RunProgress(titles_of(prompt))
    events = []
    for event in client.follow(prompt, workflow):
        progress.take(event)
        events.append(event)
    run = client.finish(events)
    if run.error is not None:
        raise Refusal(run.error)
    return prompt, run, progress


def saved_videos(run: Run, folder: Path) -> dict[str, Path]:
    """Every video that the run saved, by the prefix its Save Video node gave it."""
    videos = {}
    for output in run.outputs.values():
        for saved in output.get("images", []):
            if saved.get("type") == "temp":
                continue  # shown in its node alone: the comparison
            path = folder / saved.get("subfolder", "") / saved["filename"]
            if path.suffix == ".mp4":
                # ComfyUI appends a counter: prefix_00001_.mp4
                videos[path.stem.rstrip("_").rpartition("_")[0]] = path
    return videos


def large_video(videos: Iterable[str]) -> str:
    """The name of the one video that has a preview beside it; raises Refusal where none or several have."""
    names = sorted(videos)
    pairs = [name for name in names if f"{name}_preview" in names]
    if len(pairs) == 1:
        return pairs[0]
    raise Refusal(
        f"The workflow saved {', '.join(names) or 'no video'}, but the demo shows one large video beside its "
        "preview. Give their Save Video nodes the filename_prefix NAME and NAME_preview."
    )


def collect(run: Run, folder: Path, output: Path) -> dict[str, Path]:
    """Moves the large video and its preview to the output folder and puts them side by side."""
    videos = saved_videos(run, folder)
    name = large_video(videos)
    output.mkdir(parents=True, exist_ok=True)
    result, preview = output / f"{name}.mp4", output / f"{name}_preview.mp4"
    shutil.move(videos[name], result)
    shutil.move(videos[f"{name}_preview"], preview)
    both = output / f"{name}_side_by_side.mp4"
    write_side_by_side(preview, result, both)
    return {"High resolution": result, "Preview": preview, "Side by side": both}


def make_video(workflow_file: Path, output: Path) -> None:
    """The whole demo; raises Refusal with a sentence when something is in the way."""
    port = chosen_port()
    require_free_space(ROOT, GIGABYTES_OF_OUTPUT, "the demo")
    workflow = json.loads(workflow_file.read_text(encoding="utf-8"))
    remove_abandoned_runs()
    (output / LOG_NAME).unlink(missing_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=generated_folder()))
    cpu = not has_gpu()
    print(f"Starting ComfyUI on {'the CPU' if cpu else 'the GPU'}, port {port}.", flush=True)
    try:
        with ComfyServer(comfyui_path(), Path(sys.executable), port, work, cpu) as server:
            print(f"Running {workflow_file.name}.", flush=True)
            prompt, run, progress = run_workflow(server, workflow)
            videos = collect(run, server.output, output)
    except Exception:
        keep_log(work, output)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("\n".join(report_lines(prompt, run, progress, videos)))


def remove_abandoned_runs() -> None:
    """Clears the work folders of runs that were killed before they could do it."""
    for folder in generated_folder().glob("run-*-*"):
        if not psutil.pid_exists(int(folder.name.split("-")[1])):
            shutil.rmtree(folder, ignore_errors=True)


def keep_log(work: Path, output: Path) -> None:
    log = work / LOG_NAME
    if log.exists():
        output.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, output / LOG_NAME)
        print(f"\nComfyUI's log is kept in {output / LOG_NAME}.", file=sys.stderr)


def stop_on_termination(number: int, frame: FrameType | None) -> None:
    """Turns a polite kill into an exception, so that the server is stopped on the way out."""
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="./demo.sh", description="Makes a video with the S²Flow workflow.")
    parser.add_argument(
        "--workflow", type=Path, default=WORKFLOW, help="another workflow, as the browser saves it"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the videos go")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop_on_termination)
    try:
        make_video(arguments.workflow, arguments.output)
    except (Refusal, ServerFailed, PromptRefused, ValueError, ConnectionError) as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except OSError as error:
        if not is_disk_full(error):
            raise
        print(f"The disk ran full in {arguments.output}: free some space and run again.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
