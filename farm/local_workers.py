"""Workers of this machine: one process for each, which talks through a pipe. Nothing listens but ComfyUI."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .jobs import Job
from .model_files import Equipment, require_same
from .pool import Event, Lost, PoolLost, Progress, Stopped, Told
from .refusal import Refusal
from .worker import ComfyWorker, WorkerSettings

VISIBLE = "CUDA_VISIBLE_DEVICES"
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
SECONDS_TO_STOP = 40.0
SECONDS_TO_LOOK = 600.0  # a cold drive reads the pieces of its models


@dataclass
class Hand:
    """A worker's process and our end of its pipe. folder: of the job that it has, if any."""

    process: BaseProcess
    pipe: Connection
    folder: Path | None = None


class LocalPool:
    """`pool.Pool` over processes of this machine; use it as a context manager.

    devices: of each worker, as in CUDA_VISIBLE_DEVICES; "" for the CPU. token: of the store. names: model
    files whose digests are kept with the results.
    """

    def __init__(self, settings: WorkerSettings, devices: Sequence[str], token: str, names: list[str]):
        self.settings = settings
        self.devices = {f"worker-{number}": given for number, given in enumerate(devices, start=1)}
        self.token, self.names = token, names
        self.hands: dict[str, Hand] = {}
        self._known: Equipment | None = None

    def __enter__(self) -> LocalPool:
        for name in self.devices:
            self._begin(name)
        return self

    def __exit__(self, *problem: object) -> None:
        for hand in self.hands.values():
            hand.process.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for hand in self.hands.values():
            hand.process.join(max(0.0, deadline - time.monotonic()))
            hand.process.kill()
            hand.process.join()
        self.hands.clear()

    def idle(self) -> list[str]:
        """Workers that can take a job now."""
        return [name for name, hand in self.hands.items() if hand.folder is None]

    def start(self, worker: str, job: Job, folder: Path) -> None:
        """A worker that has just died says so when it is waited for."""
        hand = self.hands[worker]
        hand.folder = folder
        self._send(hand, ("run", job, folder))

    def wait(self, seconds: float) -> list[Told]:
        """What workers told; a process that is gone is started again."""
        pipes = {hand.pipe: name for name, hand in self.hands.items() if hand.folder is not None}
        if not pipes:
            time.sleep(seconds)
            return []
        told = []
        for pipe in wait(list(pipes), seconds):
            name = pipes[pipe]  # pyright: ignore[reportArgumentType]
            hand = self.hands[name]
            assert hand.folder is not None
            folder, event = hand.folder, self._heard(name)
            if not isinstance(event, Progress):
                self.hands[name].folder = None
            told.append(Told(name, folder, event))
        return told

    def kill(self, worker: str, whole: bool) -> None:
        """Ends a worker's ComfyUI; with `whole` its process too, which ends its ComfyUI with it."""
        hand = self.hands[worker]
        if not whole:
            self._send(hand, ("forget",))
            return
        hand.process.kill()
        self._begin_again(worker)

    def restart(self) -> None:
        """Workers of this machine die one by one."""
        raise PoolLost("This machine's workers cannot be lost together.")

    def _heard(self, name: str) -> Event:
        try:
            return self.hands[name].pipe.recv()
        except (EOFError, OSError):
            try:
                self._begin_again(name)
            except Refusal as problem:
                return Stopped(str(problem))  # told in its turn, behind what others made
            return Lost(f"The process of {name} was killed.")

    def _begin_again(self, name: str) -> None:
        hand = self.hands.pop(name)
        hand.pipe.close()
        hand.process.join()
        self._begin(name)

    def _begin(self, name: str) -> None:
        """Starts a worker's process; raises Refusal unless it makes clips with the same things."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        settings = replace(self.settings, cpu=self.settings.cpu or not self.devices[name])
        process = context.Process(target=serve, args=(settings, name, self.devices[name], theirs), name=name)
        process.start()
        theirs.close()
        self.hands[name] = Hand(process, ours)
        seen, equipment = self._asked(name, ("look", self.token, self.names))
        if not seen:
            raise Refusal(f"{name} does not see the store {self.settings.store}.")
        require_same(self._known or equipment, equipment)
        self._known = self._known or equipment

    def _asked(self, name: str, question: tuple[Any, ...]) -> Any:
        hand = self.hands[name]
        self._send(hand, question)
        try:
            if hand.pipe.poll(SECONDS_TO_LOOK):
                return hand.pipe.recv()
        except (EOFError, OSError):
            pass
        raise Refusal(f"{name} ended while it was started; what it said stands above.")

    @staticmethod
    def _send(hand: Hand, message: tuple[Any, ...]) -> None:
        # A dead worker is found by `wait`.
        with suppress(ConnectionError):
            hand.pipe.send(message)


def serve(settings: WorkerSettings, name: str, devices: str, pipe: Connection) -> None:
    """A worker's process: answers until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which ends us
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    if sys.platform == "linux":
        # The main thread starts ComfyUI, so ComfyUI in its turn dies with us.
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if devices:
        os.environ[VISIBLE] = devices
    worker = ComfyWorker(settings, name, require_driver)
    try:
        while True:
            what, *given = pipe.recv()
            if what == "look":
                token, names = given
                pipe.send((worker.sees_store(token), worker.look(names)))
            elif what == "forget":
                worker.stop()
            else:
                for event in worker.run(*given):
                    pipe.send(event)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        worker.stop()


def require_driver() -> None:
    """Ends this process when the driver was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        sys.exit(1)


def devices_for(workers: int | None, gpus_per_clip: float, cpu: bool) -> list[str]:
    """The GPUs of each worker; as many workers as the GPUs allow, or one on the CPU, where none are named."""
    if cpu or gpus_per_clip == 0:
        return [""] * (workers or 1)
    found = gpus()
    if not found:
        raise Refusal("No NVIDIA GPU was found here. Add --cpu to make clips on the CPU.")
    if gpus_per_clip < 1:
        sharing = int(1 / gpus_per_clip)
        groups = [gpu for gpu in found for _ in range(sharing)]
    else:
        size = int(gpus_per_clip)
        groups = [",".join(found[at : at + size]) for at in range(0, len(found) - size + 1, size)]
    if not groups:
        raise Refusal(f"gpus_per_clip is {gpus_per_clip:g}, and there are {len(found)} GPUs here.")
    if workers is not None and workers > len(groups):
        raise Refusal(f"There are GPUs for {len(groups)} workers here, not for {workers}.")
    return groups[:workers]


def gpus() -> list[str]:
    """Numbers of the NVIDIA GPUs that this process may use."""
    if VISIBLE in os.environ:
        return [part.strip() for part in os.environ[VISIBLE].split(",") if part.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number, _ in enumerate(listed.stdout.strip().splitlines())]
