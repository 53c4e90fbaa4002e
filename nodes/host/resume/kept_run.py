"""Keeps the state of a run in a file every few steps, so that the same graph goes on after a crash."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ....s2flow_core.files.checked_tensors import DamagedFile, UnreadableFile
from ....s2flow_core.files.run_state import ForeignState, load_run_state, save_run_state
from ....s2flow_core.files.written_whole import NotWritten, remove_abandoned
from ..prompt_graph import Place, place_of
from ..sampling.guided import NoiseSource
from ..sampling.sampled_run import SampledRun
from .content import digest_of_content, guider_content

log = logging.getLogger(__name__)

FOLDER = "s2flow_unfinished"
SUFFIX = ".s2flow-run.safetensors"
SAMPLERS = frozenset({"S2FlowLowResSampler", "S2FlowHighResSampler", "S2FlowRefinerSampler"})


@dataclass(frozen=True)
class Given:
    """What a sampler was given. latent: with samples as the model wants them. settings: all that is left."""

    guiders: Sequence[Any]
    noise: NoiseSource
    latent: dict[str, Any]
    settings: Sequence[Any]

    def content(self) -> list[Any]:
        drawn = self.noise.generate_noise(self.latent)
        guiders = [guider_content(guider) for guider in self.guiders]
        return [guiders, drawn, self.noise.seed, self.latent, list(self.settings)]


@dataclass
class KeptRun:
    """The file of one run. place: the node in its prompt, where ComfyUI tells. run: digest of all that makes
    this run what it is. every: steps between two writings, 0 keeps nothing."""

    place: Place | None
    run: str
    every: int
    written: int = 0  # the position that the file holds
    failed: bool = False

    @classmethod
    def of_node(cls, hidden: Any, every: int, given: Given) -> KeptRun:
        """hidden: of the node, with ComfyUI's prompt and unique_id."""
        if not every:
            return cls(None, "", 0)
        place = place_of(hidden)
        stamps = [] if place is None else stamps_of_files([place, *place.ancestors()])
        graph = "" if place is None else place.digest()
        return cls(place, digest_of_content(graph, stamps, given.content()), every)

    @property
    def path(self) -> Path:
        return folder() / f"{name_of_graph(self.place)}_{self.run}{SUFFIX}"

    @property
    def awaited(self) -> bool:
        """Whether a sampler that is kept too goes on from this one's result."""
        below = [] if self.place is None else self.place.descendants()
        return any(other.kind in SAMPLERS and other.inputs.get("resume_every") for other in below)

    def resume(self, run: SampledRun) -> None:
        """Puts the run where an earlier one of the same graph was stopped, and says so."""
        if not self.every:
            return
        run.keeper = self
        if not self.path.exists():
            if self.place is not None and kept_of(self.place):
                log.warning(
                    "S²Flow starts this run anew: what is kept of this graph in %s is of another model, "
                    "patch, noise or earlier result. It goes when this run has ended well.",
                    folder(),
                )
            return
        try:
            run.resume_from(load_run_state(self.path, self.run, run.steps))
        except (UnreadableFile, DamagedFile, ForeignState) as reason:
            log.warning("S²Flow starts this run anew, because what was kept of it cannot be used: %s", reason)
            return
        self.written = run.position
        log.info("S²Flow goes on after step %d of %d, kept in %s", run.position, run.steps, self.path.name)

    def after_step(self, run: SampledRun) -> None:
        last = run.position == run.steps
        if self.awaited if last else run.position % self.every == 0:
            self.write(run)

    def stopped(self, run: SampledRun) -> None:
        """The run was cancelled or failed: its last good state is kept."""
        if run.position and run.position != self.written:
            self.write(run)
        if self.written:
            log.info(
                "S²Flow kept step %d of %d in %s; the same graph goes on from there",
                self.written,
                run.steps,
                self.path,
            )

    def write(self, run: SampledRun) -> None:
        try:
            save_run_state(self.path, run.state(), self.run)
            self.written = run.position
        except (NotWritten, ValueError) as reason:  # ValueError: more steps and layers than a file lists
            # The video is worth more than the way back to it: the run goes on.
            if not self.failed:
                log.warning("S²Flow cannot keep this run, which goes on without: %s", reason)
            self.failed = True

    def finished(self) -> None:
        """The run ended well: removes what was kept of it, and of the runs that only it waited for."""
        if not self.every:
            return
        if self.awaited:
            if not self.failed:
                log.info(
                    "S²Flow keeps this run in %s until the large run that goes on from it has ended well%s. "
                    "What is kept of previews that you will not enlarge may be deleted there.",
                    folder(),
                    size_in_words(folder()),
                )
            return
        above = [] if self.place is None else self.place.ancestors()
        places = [one for one in (self.place, *above) if one is not None and one.kind in SAMPLERS]
        done = {self.path, *(path for one in places for path in kept_of(one))}
        for path in done:
            try:
                path.unlink(missing_ok=True)
            except OSError as reason:
                log.warning("S²Flow could not remove %s, which is needed no more: %s", path, reason)
        remove_abandoned(folder())
        with suppress(OSError):
            folder().rmdir()  # if it is empty


def folder() -> Path:
    return Path(folder_paths.get_output_directory()) / FOLDER


def size_in_words(place: Path) -> str:
    """How much lies there; nothing where another ComfyUI removes files meanwhile."""
    with suppress(OSError):
        sizes = [path.stat().st_size for path in place.glob(f"*{SUFFIX}")]
        return f" ({len(sizes)} there, {sum(sizes) / 1e9:.1f} GB in all)"
    return ""


def name_of_graph(place: Place | None) -> str:
    return "run" if place is None else f"{place.kind.removeprefix('S2Flow')}_{place.digest()[:16]}"


def kept_of(place: Place) -> list[Path]:
    return sorted(folder().glob(f"{name_of_graph(place)}_*{SUFFIX}"))


def stamps_of_files(places: Sequence[Place]) -> list[Any]:
    """Size and time of every file that the graph names: models, LoRAs, pictures."""
    names = {value for one in places for value in one.values().values() if isinstance(value, str)}
    return [[name, *stamp] for name in sorted(names) for stamp in stamps_of(name)]


def stamps_of(name: str) -> list[tuple[int, int]]:
    if not name or "\n" in name or "\0" in name or len(name) > 512:
        return []
    paths = [folder_paths.get_full_path(kind, name) for kind in folder_paths.folder_names_and_paths]
    paths.append(str(Path(folder_paths.get_input_directory()) / name))
    stamps = []
    for path in paths:
        if path is not None:
            with suppress(OSError, ValueError):
                about = Path(path).stat()
                stamps.append((about.st_size, about.st_mtime_ns))
    return stamps
