"""Noise Reshift knows from the noise whether k is the step that the first sampler stopped at.

On the shipped model, because only a trained model's clean estimate leaves noise of deviation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

K = 10
STEPS = 40


@dataclass(frozen=True)
class SmallModel:
    """The shipped files under a CFGGuider, a schedule for them, and what a run starts from."""

    modules: Any
    model: Any
    sigmas: Tensor
    empty: Tensor
    noise: Tensor

    def guider(self, guidance: float) -> Any:
        prompt = self.modules.pack("demo.vocabulary").Prompt("red", "triangle", "right", "water")
        return self.modules.pack("demo.generate").guider_for(self.model, [prompt], guidance)

    def reshift(self, denoised: Tensor, state: Tensor, k: int, noise_mode: str = "consistent") -> None:
        self.modules.node("S2FlowNoiseReshift").execute(
            model=self.model,
            latent={"samples": denoised},
            noisy_latent={"samples": state},
            sigmas=self.sigmas,
            k=k,
            scale=0.75,
            noise_mode=noise_mode,
            sigma_mode="literal",
            seed=0,
        )


@pytest.fixture(scope="module")
def small(comfy_modules) -> SmallModel:
    generate = comfy_modules.pack("demo.generate")
    model = generate.load_models().model
    empty = generate.empty_latent(1, 128)[:, :, :2]  # (1, 16, 2, 16, 16)
    noise = generate.seeded_noise([7], empty)
    return SmallModel(comfy_modules, model, generate.schedule(model, STEPS), empty, noise)


def run_by_core(small: SmallModel, sampler: str, k: int, guidance: float = 4.0) -> tuple[Tensor, Tensor]:
    """(output, denoised_output) of core's SamplerCustomAdvanced after k steps."""
    import comfy.samplers

    class Drawn:
        seed = 7

        def generate_noise(self, latent: dict[str, Any]) -> Tensor:
            return small.noise.clone()

    node = small.modules.node("SamplerCustomAdvanced")
    chosen = comfy.samplers.sampler_object(sampler)
    latent = {"samples": small.empty}
    output, denoised = node.execute(
        Drawn(), small.guider(guidance), chosen, small.sigmas[: k + 1], latent
    ).args
    return output["samples"], denoised["samples"]


@pytest.fixture(scope="module")
def stopped(small) -> dict[int, tuple[Tensor, Tensor]]:
    """The two outputs of runs that stopped after a few different numbers of steps."""
    return {k: run_by_core(small, "euler", k) for k in (7, 8, 9, K, 11, 12, 13)}


@pytest.mark.parametrize("noise_mode", ["consistent", "fresh"])
@pytest.mark.parametrize("ran", [7, 8, 9, 11, 12, 13])
def test_another_k_than_the_run_had_is_refused_and_both_are_named(small, stopped, ran, noise_mode):
    state, denoised = stopped[ran]
    small.reshift(denoised, state, ran, noise_mode)
    says = (
        rf"k is {K}, but .* stopped after {ran} of these {STEPS} steps\. Set k to {ran}, or step in .* to {K}"
    )
    with pytest.raises(ValueError, match=says):
        small.reshift(denoised, state, K, noise_mode)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "res_multistep"])
def test_no_right_k_is_refused_in_the_whole_schedule(small, sampler):
    """Under strong guidance; samplers that keep no state hand over what they tell their callback."""
    import comfy.samplers

    reshift = small.modules.pack("s2flow_core.transition.reshift")
    steps: list[tuple[Tensor, Tensor]] = []
    chosen = comfy.samplers.sampler_object(sampler)
    small.guider(7.5).sample(
        small.noise.clone(),
        small.empty,
        chosen,
        small.sigmas,
        callback=lambda step, denoised, x, total: steps.append((denoised.clone(), x.clone())),
        disable_pbar=True,
        seed=7,
    )
    assert len(steps) == STEPS
    for k in range(1, STEPS):
        sigma = float(small.sigmas[k])
        state = steps[k][1] / (1 - sigma)  # as ComfyUI hands it over
        denoised = steps[k - 1][0]
        noise = reshift.noise_in_state(state, denoised, sigma)
        reshift.check_clean(denoised, noise)
        reshift.check_step_of_noise(noise, small.sigmas, k)


@pytest.mark.parametrize("sampler", ["heun", "uni_pc"])
@pytest.mark.parametrize("k", [1, 5, K, 20, 30])
def test_no_right_k_is_refused_of_samplers_with_two_calls_or_a_scale_of_their_own(small, sampler, k):
    state, denoised = run_by_core(small, sampler, k)
    small.reshift(denoised, state, k)


@pytest.mark.parametrize("noise_mode", ["consistent", "fresh"])
def test_wires_that_no_k_explains_are_named(small, stopped, noise_mode):
    state, denoised = stopped[K]
    says = "output to noisy_latent and denoised_output to latent"
    with pytest.raises(ValueError, match=says):
        small.reshift(state, state, K, noise_mode)
    with pytest.raises(ValueError, match=says):
        small.reshift(denoised, state * 100, K, noise_mode)
    with pytest.raises(ValueError, match="the two are crossed"):
        small.reshift(state, denoised, K, noise_mode)
