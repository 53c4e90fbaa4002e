"""Workers of a Ray cluster: one actor for each, placed and restarted by it. Ray is known here alone."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ray
import ray.exceptions as errors

from comfyui_runner.installation import ROOT

from .cluster_size import ClusterOptions, workers_for
from .jobs import Job
from .model_files import Equipment, require_same
from .pool import Event, Lost, PoolLost, Stopped, Told
from .refusal import Refusal
from .worker import ComfyWorker, WorkerSettings

SECONDS_TO_LOOK = 600.0
SECONDS_BETWEEN_QUESTIONS = 0.5  # to an actor that is not back yet
MIB = 2**20
# Where actors find this file; the pack lies at the same path on every machine.
FOUND = {"env_vars": {"PYTHONPATH": str(ROOT)}}
# Ray would send usage reports, kill workers by its own idea of memory, and run them at niceness 15, which
# ComfyUI inherits, and which starves it on a busy machine.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",
}


class Hand:
    """What runs in an actor: one worker with a scratch folder on its own machine's disk."""

    def __init__(self, settings: WorkerSettings, name: str):
        # It was for finding this file; ComfyUI is not to find our folders.
        os.environ.pop("PYTHONPATH", None)
        self._scratch = tempfile.TemporaryDirectory(prefix="s2flow-farm-", ignore_cleanup_errors=True)
        self.worker = ComfyWorker(replace(settings, scratch=Path(self._scratch.name)), name)

    def look(self, token: str, names: list[str]) -> tuple[bool, Equipment]:
        return self.worker.sees_store(token), self.worker.look(names)

    def run(self, job: Job, folder: Path, token: str, names: list[str]) -> Iterator[Event]:
        """A new actor may stand on another machine than the one that was looked at."""
        if self.worker.equipment is None and not self.worker.sees_store(token):
            yield Lost(f"{os.uname().nodename} does not see the store {folder.parent.parent}.")
            return
        if self.worker.equipment is None:
            self.worker.look(names)
        yield from self.worker.run(job, folder)

    def stop(self) -> None:
        self.worker.stop()

    def is_there(self) -> bool:
        return True


class RayPool:
    """`pool.Pool` over the actors of a Ray cluster; use it as a context manager.

    token: of the store. names: model files whose digests are compared.
    """

    def __init__(self, settings: WorkerSettings, options: ClusterOptions, token: str, names: list[str]):
        self.settings, self.options = settings, options
        self.token, self.names = token, names
        self.actors: dict[str, Any] = {}
        self.running: dict[str, tuple[Path, Any]] = {}
        # Actors that died, with a question that they answer once they are back; until then every job that
        # they are given fails at once.
        self.returning: dict[str, Any] = {}

    def __enter__(self) -> RayPool:
        try:
            self._begin()
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        with contextlib.suppress(Exception):
            ray.get([actor.stop.remote() for actor in self._idle_actors()], timeout=30)
        for actor in self.actors.values():
            with contextlib.suppress(Exception):
                ray.kill(actor)
        ray.shutdown()

    def idle(self) -> list[str]:
        """Workers that can take a job now."""
        return [name for name in self.actors if name not in self.running and name not in self.returning]

    def start(self, worker: str, job: Job, folder: Path) -> None:
        """Its events come as a stream."""
        with pool_lost():
            run = self.actors[worker].run.options(num_returns="streaming")
            self.running[worker] = (folder, run.remote(job, folder, self.token, self.names))

    def wait(self, seconds: float) -> list[Told]:
        """What workers told; the cluster starts actors again that died."""
        streams = {stream: name for name, (_, stream) in self.running.items()}
        answers = {answer: name for name, answer in self.returning.items()}
        asked = [*streams, *answers]
        if not asked:
            time.sleep(seconds)
            return []
        with pool_lost():
            ready, _ = ray.wait(asked, num_returns=1, timeout=seconds)
            if ready:
                ready, _ = ray.wait(asked, num_returns=len(asked), timeout=0)
        for answer in ready:
            if answer in answers:
                self._is_back(answers[answer], answer)
        return [told for stream in ready if stream in streams for told in self._heard(streams[stream])]

    def _is_back(self, worker: str, answer: Any) -> None:
        try:
            ray.get(answer)
        except errors.RayActorError:
            time.sleep(SECONDS_BETWEEN_QUESTIONS)
            self._await_return(worker)
        else:
            del self.returning[worker]

    def _await_return(self, worker: str) -> None:
        self.returning[worker] = self.actors[worker].is_there.remote()

    def _heard(self, worker: str) -> list[Told]:
        folder, stream = self.running[worker]
        try:
            event = cast(Event, ray.get(next(stream)))  # ray takes it for a list
            return [Told(worker, folder, event)]
        except StopIteration:
            del self.running[worker]
            return []
        except (errors.RayActorError, errors.WorkerCrashedError, errors.TaskCancelledError) as problem:
            del self.running[worker]
            self._await_return(worker)
            return [Told(worker, folder, Lost(str(problem).splitlines()[0]))]
        except errors.RayTaskError as problem:
            # An event, so that it is told in its turn, with what others made.
            why = f"{worker} failed in a way that no clip causes:\n{problem}"
            return [Told(worker, folder, Stopped(why))]
        except errors.RaySystemError as problem:
            raise PoolLost(str(problem)) from problem

    def kill(self, worker: str, whole: bool) -> None:
        """Ends a worker's ComfyUI; with `whole` its process too, which ends its ComfyUI with it."""
        with pool_lost():
            if whole:
                ray.kill(self.actors[worker], no_restart=False)
                self.running.pop(worker, None)
                self._await_return(worker)
            else:
                self.actors[worker].stop.remote()

    def restart(self) -> None:
        """Joins the cluster anew after its head was lost."""
        ray.shutdown()
        self.actors.clear()
        self.running.clear()
        self.returning.clear()
        self._begin()

    def _begin(self) -> None:
        os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
        self._join()
        gpus = self.options.gpus_per_clip
        count = workers_for(self.options, ray.cluster_resources())
        kind = ray.remote(Hand).options(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=0)
        for number in range(1, count + 1):
            self.actors[f"worker-{number}"] = kind.remote(self.settings, f"worker-{number}")
        self._look()

    def _join(self) -> None:
        address = self.options.address
        try:
            if address == "local":
                # Trajectories and videos go through the store, so little goes through Ray.
                own = {"include_dashboard": False, "object_store_memory": 100 * MIB}
                ray.init(num_cpus=self.options.workers, log_to_driver=False, runtime_env=FOUND, **own)
            else:
                ray.init(address, log_to_driver=False, runtime_env=FOUND)
        except (ConnectionError, RuntimeError, ValueError, errors.RayError) as problem:
            reason = str(problem).strip().splitlines() or ["no reason given"]
            raise Refusal(
                f"No Ray cluster answers at {address}: {reason[0]} docs/farm.md says how to start one."
            ) from problem

    def _look(self) -> None:
        """Raises Refusal where a worker is not placed, does not see the store, or has other things."""
        asked = {actor.look.remote(self.token, self.names): name for name, actor in self.actors.items()}
        _, missing = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS_TO_LOOK)
        if missing:
            raise Refusal(
                f"{len(missing)} of {len(asked)} workers did not start within {SECONDS_TO_LOOK:.0f} s. "
                "`ray status` tells what the cluster lacks."
            )
        first: Equipment | None = None
        for reference, name in asked.items():
            seen, equipment = ray.get(reference)
            if not seen:
                raise Refusal(
                    f"{equipment.host} ({name}) does not see the store {self.settings.store}. Mount it "
                    "there under the same path."
                )
            require_same(first or equipment, equipment)
            first = first or equipment

    def _idle_actors(self) -> list[Any]:
        return [self.actors[name] for name in self.idle()]


@contextlib.contextmanager
def pool_lost() -> Iterator[None]:
    """A cluster that is gone as a whole."""
    try:
        yield
    except (errors.RaySystemError, ConnectionError) as problem:
        raise PoolLost(str(problem)) from problem
