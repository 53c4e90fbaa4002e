"""`python -m farm jobs.yaml`: makes previews of many clips, then large videos of those picked.

    python -m farm jobs.yaml [--workers N] [--address HOST:PORT] [--cpu] [--dry-run] [--status]
        [--retry-failed] [--wait]

docs/farm.md says how a manifest is written. Run it again after picking, or after anything went wrong: what is
finished stays finished.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

from comfyui_runner.client import ComfyClient
from comfyui_runner.server import ServerFailed

from .addresses import Json
from .clips import clips_of
from .cluster_size import ClusterOptions
from .jobs import STAGES, Job, jobs_of
from .keys import InputFiles
from .local_workers import LocalPool, devices_for
from .manifest import Manifest, read_manifest
from .model_files import model_names, versions_of
from .pool import Pool
from .refusal import Refusal
from .run import Run, status_of
from .store import Store, opened_store
from .worker import ComfyWorker, WorkerSettings
from .workflow import prompt_of


def options_of(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m farm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="a YAML file")
    parser.add_argument("--workers", type=int, help="how many ComfyUIs; else as many as there are GPUs for")
    parser.add_argument("--address", help="of a Ray cluster to join, or auto; else this machine alone works")
    parser.add_argument("--cpu", action="store_true", help="make clips on the CPU")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be made")
    parser.add_argument("--status", action="store_true", help="only say what is made")
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed")
    parser.add_argument("--wait", action="store_true", help="show the sheet, take ticks, go on until Ctrl-C")
    options = parser.parse_args(given)
    if options.workers is not None and options.workers < 1:
        raise Refusal(f"--workers is {options.workers}; give 1 or more.")
    return options


def inputs_folder(manifest: Manifest) -> Path:
    """Where workflows load their files from."""
    return manifest.inputs or manifest.comfyui / "input"


def settings_of(manifest: Manifest, scratch: Path, cpu: bool) -> WorkerSettings:
    return WorkerSettings(
        manifest.comfyui,
        manifest.python,
        manifest.store,
        scratch,
        manifest.arguments,
        manifest.models,
        inputs_folder(manifest),
        cpu or manifest.gpus_per_clip == 0,
        manifest.custom_nodes,
    )


def object_info(manifest: Manifest, cpu: bool) -> Json:
    """What a ComfyUI says about its nodes; one is started for it."""
    print("Starting a ComfyUI to read the workflow.", flush=True)
    with tempfile.TemporaryDirectory(prefix="s2flow-farm-") as scratch:
        worker = ComfyWorker(settings_of(manifest, Path(scratch), cpu), "reader")
        try:
            return ComfyClient(worker.ensure().url).object_info()
        finally:
            worker.stop()


def jobs_in(manifest: Manifest, cpu: bool) -> list[Job]:
    """Everything that the manifest asks for, checked before anything is made."""
    kept = manifest.store / "workflows"
    versions = versions_of(manifest.comfyui, manifest.custom_nodes)
    prompt = prompt_of(manifest.workflow, kept, versions, lambda: object_info(manifest, cpu))
    return jobs_of(clips_of(manifest, prompt), InputFiles(inputs_folder(manifest)).digest)


def counted(jobs: list[Job]) -> str:
    previews, large = (sum(job.stage == stage for job in jobs) for stage in STAGES)
    return f"{previews} previews, {large} large videos to pick from"


def pool_for(
    manifest: Manifest, options: argparse.Namespace, jobs: list[Job], scratch: Path
) -> AbstractContextManager[Pool]:
    """The workers that the options ask for, not started yet."""
    token = (manifest.store / "token").read_text(encoding="utf-8")
    settings = settings_of(manifest, scratch, options.cpu)
    names = model_names(job.prompt for job in jobs)
    if options.address:
        return cluster_pool(settings, options, manifest, token, names)
    devices = devices_for(options.workers, manifest.gpus_per_clip, settings.cpu)
    places = "the CPU" if settings.cpu else f"GPUs {' | '.join(devices)}"
    print(f"Starting {len(devices)} worker(s) on {places}.", flush=True)
    return LocalPool(settings, devices, token, names)


def cluster_pool(
    settings: WorkerSettings, options: argparse.Namespace, manifest: Manifest, token: str, names: list[str]
) -> AbstractContextManager[Pool]:
    """Ray is imported for a cluster alone."""
    try:
        from .cluster import RayPool
    except ImportError as problem:
        raise Refusal("--address needs Ray: pip install 'ray==2.60.*'") from problem
    gpus = 0 if settings.cpu else manifest.gpus_per_clip
    return RayPool(settings, ClusterOptions(options.address, options.workers, gpus), token, names)


def made(manifest: Manifest, options: argparse.Namespace) -> int:
    """Opens the store and makes what is wanted."""
    jobs = jobs_in(manifest, options.cpu)
    print(counted(jobs), flush=True)
    with (
        opened_store(manifest.store) as store,
        tempfile.TemporaryDirectory(prefix="s2flow-farm-", ignore_cleanup_errors=True) as scratch,
    ):
        if options.retry_failed:
            print(f"{store.forget_failures()} failed jobs are tried again.")
        return run_of(store, jobs, manifest, options, Path(scratch)).make(options.wait)


def run_of(
    store: Store, jobs: list[Job], manifest: Manifest, options: argparse.Namespace, scratch: Path
) -> Run:
    return Run(store, jobs, lambda: pool_for(manifest, options, jobs, scratch))


def stop_on_termination(number: int, frame: FrameType | None) -> None:
    """Turns a polite kill into an exception, so that workers are stopped on the way out."""
    raise KeyboardInterrupt


def main(given: list[str] | None = None) -> int:
    """Command line."""
    signal.signal(signal.SIGTERM, stop_on_termination)
    try:
        options = options_of(given)
        manifest = read_manifest(options.manifest)
        if options.dry_run:
            jobs = jobs_in(manifest, options.cpu)
            print(*[f"{job.stage:<8} {job.short}  {job.name}" for job in jobs], counted(jobs), sep="\n")
            return 0
        if options.status:
            print(status_of(manifest.store, jobs_in(manifest, options.cpu)))
            return 0
        return made(manifest, options)
    except (Refusal, ServerFailed) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; what is finished stays.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
