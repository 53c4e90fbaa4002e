"""What a run is compared with: core's own Euler, and the noise that a sampler is really given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor


def core_euler(graph: Any, noise: Any, sigmas: Tensor, latent: dict[str, Any]) -> Any:
    """Samples of a graph's guider under ComfyUI's Euler; a tensor, or a NestedTensor of picture and sound."""
    import comfy.samplers

    return graph.guider.sample(
        noise.generate_noise(latent),
        latent["samples"],
        comfy.samplers.sampler_object("euler"),
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        disable_pbar=True,
        seed=noise.seed,
    )


def noise_that_is_sampled(run: Callable[[], Any], patch: pytest.MonkeyPatch) -> Tensor:
    """The noise of a run as the sampler gets it, behind everything that core does to it."""
    import comfy.samplers

    given = []
    sample = comfy.samplers.KSAMPLER.sample

    def noting(
        self: Any, model: Any, sigmas: Any, extra: Any, callback: Any, noise: Any, *more: Any, **named: Any
    ):
        given.append(noise.clone())
        return sample(self, model, sigmas, extra, callback, noise, *more, **named)

    patch.setattr(comfy.samplers.KSAMPLER, "sample", noting)
    run()
    return given[0]
