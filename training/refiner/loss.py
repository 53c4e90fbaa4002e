"""The loss of a Refiner: the velocity of the straight path from the small latent to the large one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from s2flow_core.latent.flow import renoise, snr_matched_sigma
from s2flow_core.transition.flow_map import degraded, reference_signal


@dataclass(frozen=True)
class FlowMapping:
    """What Bowtie-flow trains with (B.2, B.3).

    time_shift: of sigma ~ LogitNormal(0, 1). noise_levels: the degradation of the small latent, in
    thousandths of FlashVideo's reference step (the paper's "noise in [0.6, 0.9]"). noise_share: share of the
    samples that get it, all of them in the paper; the others train the flow map from a small video as it is.
    drop_prompt: share that sees the empty prompt. relative: every sample's error counts as a share of its own
    target. Without it, the degraded samples, whose targets are fifty times larger, drown the others.
    """

    time_shift: float = 5.0
    noise_levels: tuple[float, float] = (0.6, 0.9)
    noise_share: float = 1.0
    drop_prompt: float = 0.1
    relative: bool = False


def draw_sigmas(count: int, shift: float, generator: torch.Generator) -> Tensor:
    """(count,) of the shifted LogitNormal(0, 1)."""
    return snr_matched_sigma(torch.randn(count, generator=generator).sigmoid(), shift)


def flow_mapping_loss(
    model: Callable[[Tensor, Tensor, Tensor], Tensor],
    high: Tensor,
    low: Tensor,
    context: Tensor,
    empty: Tensor,
    settings: FlowMapping,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error per sample (B,) of the velocity z_LR - z_HR.

    high, low: (B, C, T, H, W) in model space, low enlarged to high's size. context: (B, tokens, width).
    empty: (tokens, width), the empty prompt, which takes a dropped one's place. model takes state, timesteps
    0...1000 and context. Draws come from the generator (on the CPU) alone.
    """
    count, device = len(high), high.device
    least, most = settings.noise_levels
    noisy = torch.rand(count, generator=generator) < settings.noise_share
    levels = least + (most - least) * torch.rand(count, generator=generator)
    signals = [
        reference_signal(int(1000 * level)) if hit else 1.0
        for level, hit in zip(levels.tolist(), noisy.tolist(), strict=True)
    ]
    noise = torch.randn(low.shape, generator=generator).to(low)
    low = degraded(low, noise, rearrange(torch.tensor(signals), "b -> b 1 1 1 1").to(low))

    sigma = draw_sigmas(count, settings.time_shift, generator).to(device)
    dropped = torch.rand(count, generator=generator).to(device) < settings.drop_prompt
    texts = pad_sequence([*context, empty], batch_first=True)  # (B + 1, tokens, width)
    context = torch.where(dropped[:, None, None], texts[-1], texts[:-1])
    state = renoise(high, low, rearrange(sigma, "b -> b 1 1 1 1"))
    velocity = model(state, sigma * 1000, context)
    target = low - high
    error = (velocity.float() - target).square().mean(dim=(1, 2, 3, 4))
    return error / target.square().mean(dim=(1, 2, 3, 4)).clamp_min(1e-6) if settings.relative else error
