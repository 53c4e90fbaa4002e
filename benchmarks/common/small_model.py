"""The pack's own nodes on the shipped small model: one LR run, and HR runs that differ in one thing."""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from comfyui_runner.installation import computes_on, load_pack
from demo.clips.scenes import TRAIN_SIZE
from demo.generate import DemoModels, empty_latent, guider_for, load_models, schedule
from demo.measure import held_out_cases
from demo.settings import SCALE
from demo.vocabulary import Prompt

COARSE_CELLS = 2


@dataclass(frozen=True)
class Errors:
    """Relative L2 distances of an HR latent to its reference, whole and in two bands."""

    whole: float
    low: float
    high: float


def relative_errors(latent: Tensor, reference: Tensor) -> Errors:
    """latent, reference: (B, C, T, H, W). low: means of 2x2 cells, what LR could show; high: the rest."""
    difference = latent - reference
    low, low_reference = (coarse(x) for x in (difference, reference))
    high, high_reference = (x - coarse(x) for x in (difference, reference))
    return Errors(
        whole=float(difference.norm() / reference.norm()),
        low=float(low.norm() / low_reference.norm()),
        high=float(high.norm() / high_reference.norm()),
    )


def coarse(latent: Tensor) -> Tensor:
    """Every cell replaced by the mean of its 2x2 block."""
    shape = latent.shape
    blocks = torch.nn.functional.avg_pool2d(latent.flatten(0, 2)[:, None], COARSE_CELLS)
    enlarged = blocks.repeat_interleave(COARSE_CELLS, -1).repeat_interleave(COARSE_CELLS, -2)
    return enlarged.reshape(shape)


def windowed_by() -> str:
    """The attention backend: at these sizes a GPU is so fast that `auto` would leave the windows out."""
    return "auto" if computes_on() == "cpu" else "torch_boxes"


def random_noise(seed: int) -> Any:
    """What core's RandomNoise node gives."""
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    return Noise_RandomNoise(seed)


def digest_of(*files: Path) -> str:
    """Tells shipped files apart, so that what was kept of older ones is never mixed with new figures."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


class SmallModel:
    """Loads the shipped files once and runs the pack's nodes on them."""

    def __init__(self) -> None:
        self.pack = load_pack()

    @cached_property
    def models(self) -> DemoModels:
        return load_models()

    def module(self, name: str) -> Any:
        """A module of the loaded pack, e.g. "nodes.upsample"."""
        return importlib.import_module(f"{self.pack.__name__}.{name}")

    def recorded(self, index: int, steps: int, size: int = TRAIN_SIZE, **inputs: Any) -> tuple[Tensor, Any]:
        """(latent, trajectory) of the Low-Res Sampler for one held-out prompt and seed. size: in pixels."""
        prompt, seed = held_out_cases(index + 1)[index]
        latent, trajectory = (
            self.module("nodes.low_res_sampler")
            .S2FlowLowResSampler.execute(
                random_noise(seed),
                guider_for(self.models.model, [prompt]),
                schedule(self.models.model, steps),
                {"samples": empty_latent(1, size)},
                **inputs,
            )
            .args
        )
        return latent["samples"], trajectory

    def low_res(self, index: int, steps: int, **inputs: Any) -> LowResRun:
        """`recorded`, ready for what comes after it."""
        return self.run_of(index, *self.recorded(index, steps, **inputs))

    def run_of(self, index: int, latent: Tensor, trajectory: Any) -> LowResRun:
        """A recorded run, ready for what comes after it."""
        prompt, seed = held_out_cases(index + 1)[index]
        guider = guider_for(self.models.model, [prompt])
        return LowResRun(self, prompt, guider, Calls(guider), latent, trajectory, seed)


@dataclass(frozen=True)
class HighResResult:
    """A finished HR latent, how often the guided model was asked, and the seconds of sampling.

    The seconds are those of the processor, so that other work on the machine does not count.
    """

    latent: Tensor
    calls: int
    seconds: float


class Calls:
    """Counts the guided model calls of a guider, and nothing else."""

    def __init__(self, guider: Any):
        import comfy.patcher_extension as patcher

        self.count = 0
        patcher.add_wrapper_with_key(
            patcher.WrappersMP.PREDICT_NOISE, "count", self.wrap, guider.model_options, is_model_options=True
        )

    def wrap(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        self.count += 1
        return executor(*args, **kwargs)

    def result_of(self, sample: Callable[[], Tensor]) -> HighResResult:
        """Runs one sampling and says what it took."""
        before, started = self.count, time.process_time()
        latent = sample()
        return HighResResult(latent, self.count - before, time.process_time() - started)


@dataclass(frozen=True)
class LowResRun:
    """A recorded LR run and the HR runs that start from it."""

    model: SmallModel
    prompt: Prompt
    guider: Any
    calls: Calls
    latent: Tensor
    trajectory: Any
    seed: int

    def transition(self, steps_left: int, **inputs: Any) -> tuple[Any, Tensor, Any]:
        """The triple of S²Flow Upsample, enlarged in pixels."""
        node = self.model.module("nodes.upsample").S2FlowUpsample
        given = {"scale": SCALE, "method": "bicubic", "seed": self.seed, "vae": self.model.models.vae}
        latent, sigmas, noise = node.execute(self.trajectory, steps_left, **given | inputs).args
        return latent, sigmas, noise

    def windows(
        self, latent: Any, s: float, policy: str, tail: bool = False, sigmas: Tensor | None = None
    ) -> Any:
        """sigmas: of the HR run, among whose steps the policy `error_run` shares."""
        node = self.model.module("nodes.window_mask").S2FlowWindowMask
        return node.execute(self.trajectory, latent, s, policy, tail, sigmas).args[0]

    def sampled(self, triple: tuple[Any, Tensor, Any], sampler: Any) -> HighResResult:
        """What core's SamplerCustomAdvanced does with a SAMPLER."""
        latent, sigmas, noise = triple
        return self.calls.result_of(
            lambda: self.guider.sample(
                noise.generate_noise(latent),
                latent["samples"],
                sampler,
                sigmas.clone(),  # core's uni_pc writes into it
                disable_pbar=True,
                seed=self.seed,
            ).cpu()
        )

    def high_res(self, triple: tuple[Any, Tensor, Any], **inputs: Any) -> HighResResult:
        """The High-Res Sampler node, with positions left as they are unless asked otherwise."""
        latent, sigmas, noise = triple
        node = self.model.module("nodes.high_res_sampler").S2FlowHighResSampler
        given = {"rope": "none", "backend": windowed_by()} | inputs | {"trajectory": self.trajectory}
        return self.calls.result_of(
            lambda: node.execute(noise, self.guider, sigmas, latent, **given).args[0]["samples"]
        )

    def recorded_high_res(
        self, triple: tuple[Any, Tensor, Any], **inputs: Any
    ) -> tuple[HighResResult, LowResRun]:
        """`high_res` with the node's own positions, and its run as one that a larger size starts from."""
        latent, sigmas, noise = triple
        node = self.model.module("nodes.high_res_sampler").S2FlowHighResSampler
        kept: list[Any] = []

        def sample() -> Tensor:
            given = {"backend": windowed_by()} | inputs | {"trajectory": self.trajectory, "record": True}
            large, record = node.execute(noise, self.guider, sigmas, latent, **given).args
            kept.append(record)
            return large["samples"]

        result = self.calls.result_of(sample)
        return result, replace(self, latent=result.latent, trajectory=kept[0])
