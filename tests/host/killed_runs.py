"""Kills a small run and its large run at random moments, as a power cut does, until they have come to an end.

`python tests/host/killed_runs.py FOLDER TRIALS SEED` prints one JSON line per trial. ComfyUI is loaded once;
every attempt is a fork of that process, which has met no run before, with a single thread as forks need it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

EVENTS = ("fsync", "replace", "unlink", "link")  # of the file system, beside every block of the model


class Killer:
    """Ends the process at its n-th event, without a word to anyone."""

    def __init__(self, at: int | None):
        self.at, self.seen = at, 0

    def watch(self, model: Any) -> None:
        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_: self.event())
        for name in EVENTS:
            setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            self.event()
            result = function(*given, **named)
            self.event()
            return result

        return call

    def event(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(chain: Any, killer: Killer, result: Path) -> None:
    """Small run, then large run, in a process that may not live to the end."""
    killer.watch(chain.graph.guider.model_patcher.model.diffusion_model)
    calls: list[int] = []
    chain.graph.guider.model_patcher.model.diffusion_model.register_forward_pre_hook(
        lambda *_: calls.append(1)
    )
    _, trajectory = chain.low()
    final = chain.high(trajectory)
    torch.save({"final": final, "events": killer.seen, "calls": len(calls)}, result)


def in_a_fork(chain: Any, at: int | None, result: Path) -> bool:
    """Whether the attempt came to its end."""
    child = os.fork()
    if child == 0:
        try:
            attempt(chain, Killer(at), result)
            os._exit(0)
        except BaseException as error:  # the parent reports it, and no test framework must catch it here
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, f"the attempt ended with status {status}"
    return True


def main(folder: Path, trials: int, seed: int) -> None:
    torch.set_num_threads(1)
    graph = loaded_graph()
    import folder_paths
    from kept_chain import Chain, prompt_of

    folder_paths.output_directory = str(folder)
    result = folder / "result.pt"
    in_a_fork(Chain(graph, prompt_of(every=0)), None, result)
    unbroken = torch.load(result)
    in_a_fork(Chain(graph, prompt_of(every=1)), None, result)
    events = torch.load(result)["events"]
    choose = random.Random(seed)
    for trial in range(trials):
        started, kills = time.perf_counter(), 0
        chain = Chain(graph, prompt_of(every=1 + trial % 2))
        while not in_a_fork(chain, choose.randrange(1, events) if kills < 3 else None, result):
            kills += 1
        ended = torch.load(result)
        left = sorted(path.name for path in (folder / "s2flow_unfinished").glob("*"))
        print(
            json.dumps(
                {
                    "trial": trial,
                    "kills": kills,
                    "equal": torch.equal(ended["final"], unbroken["final"]),
                    "calls": ended["calls"],
                    "calls of the unbroken run": unbroken["calls"],
                    "left": left,
                    "seconds": round(time.perf_counter() - started, 2),
                }
            ),
            flush=True,
        )


def loaded_graph() -> Any:
    sys.path.append(str(Path(__file__).parents[2]))
    from comfyui_runner.installation import comfyui_path, import_comfy
    from comfyui_runner.pack_link import GENERATED, PACK_NAME, link_pack

    import_comfy()
    importlib.import_module("comfy.cli_args").args.cpu = True
    from conftest import ComfyModules, load_everything
    from tiny_wan import wan_graph

    nodes = importlib.import_module("nodes")
    link_pack(comfyui_path())
    pack = str(GENERATED / "custom_nodes" / PACK_NAME)
    assert asyncio.run(load_everything(nodes, pack)), "ComfyUI could not load the pack"
    return wan_graph(ComfyModules(nodes, pack.replace(".", "_x_")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
