"""The loss of a flow map is zero for the exact velocity, and its noise is what was published."""

from __future__ import annotations

import pytest
import torch

from s2flow_core.transition.flow_map import reference_signal
from training.refiner.loss import FlowMapping, draw_sigmas, flow_mapping_loss


def test_a_dropped_prompt_becomes_the_empty_one():
    """As the negative prompt of guidance: what the text encoder makes of no words, not zeros."""
    seen = []

    def model(state, time, text):
        seen.append(text)
        return state

    high = torch.zeros(64, 1, 1, 2, 2)
    context, empty = torch.ones(64, 2, 8), torch.full((3, 8), 5.0)
    settings = FlowMapping(drop_prompt=0.5)
    flow_mapping_loss(model, high, high, context, empty, settings, torch.Generator().manual_seed(0))
    sums = seen[0].sum(dim=(1, 2))  # 2 tokens of ones and one of zeros, or 3 of fives
    assert set(sums.tolist()) == {16.0, 120.0}
    assert 16 < int((sums == 120).sum()) < 48


def test_the_exact_velocity_has_no_loss_and_no_velocity_has_that_of_the_path():
    high, low = torch.randn(2, 4, 16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    context, empty = torch.zeros(4, 1, 8), torch.zeros(1, 8)
    clean = FlowMapping(noise_share=0.0)

    def loss(model, settings=clean):
        return flow_mapping_loss(model, high, low, context, empty, settings, torch.Generator().manual_seed(1))

    assert loss(lambda state, time, text: low - high).max() < 1e-10
    still = loss(lambda state, time, text: torch.zeros_like(state))
    torch.testing.assert_close(still, (low - high).square().mean(dim=(1, 2, 3, 4)))
    relative = FlowMapping(noise_share=0.0, relative=True)
    torch.testing.assert_close(
        loss(lambda state, time, text: torch.zeros_like(state), relative), torch.ones(4)
    )


def test_latent_noise_lies_between_the_reference_steps():
    """At sigma = 1 the state is the degraded small latent, whose share of signal tells the reference step."""
    seen = []
    low = torch.ones(64, 1, 1, 64, 64)

    def model(state, time, text):
        mix = (time / 1000).view(-1, 1, 1, 1, 1)
        seen.append((state / mix).mean(dim=(1, 2, 3, 4)))  # high is 0
        return state

    settings = FlowMapping(noise_levels=(0.6, 0.9), noise_share=1.0)
    context, empty = torch.zeros(64, 1, 8), torch.zeros(1, 8)
    generator = torch.Generator().manual_seed(0)
    flow_mapping_loss(model, torch.zeros_like(low), low, context, empty, settings, generator)
    assert seen[0].max() <= reference_signal(600) + 0.1
    assert seen[0].min() >= reference_signal(900) - 0.1
    assert seen[0].max() - seen[0].min() > 0.2


def test_sigmas_are_the_shifted_logit_normal():
    sigmas = draw_sigmas(20_000, 5.0, torch.Generator().manual_seed(0))
    # The shift is a Möbius map, monotone, so the median 0.5 of LogitNormal(0, 1) goes to 5/6.
    assert sigmas.median() == pytest.approx(5 / 6, abs=0.01)
    assert ((sigmas > 0) & (sigmas < 1)).all()
