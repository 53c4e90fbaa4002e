"""What can be checked to the digit: the reshift at scale 1, the variance it leaves, FlashVideo's sigmas."""

from __future__ import annotations

import torch

from benchmarks.common.small_model import SmallModel
from benchmarks.common.tables import Table
from benchmarks.refine.preview import PreviewRuns

PUBLISHED_SIGMAS = (1.0, 0.909, 0.789, 0.625, 0.385, 0.0)
FEW_STEPS, K = 8, 3


def exact_table(model: SmallModel) -> tuple[Table, list[str]]:
    """Deviations from what must hold, and those that are too large."""
    table = Table("Exactness", ["what", "deviation", "at most"])
    rows = (
        ("reshift at scale 1, resumed with the same noise, to the unbroken run", unbroken_run(model), 1e-5),
        ("variance after renoise to (1-sigma)²Var + sigma²", variance_after_renoise(model), 5e-3),
        ("FlashVideo's six sigmas", published_sigmas(model), 5e-4),
        ("windows over all frames to full attention", whole_window(model), 0.0),
    )
    for row in rows:
        table.add(*row)
    return table, [f"{what}: {value:.2e}" for what, value, most in rows if value > most]


def unbroken_run(model: SmallModel) -> float:
    """Relative L2 distance."""
    from demo.generate import schedule

    runs = PreviewRuns(model, 0)
    runs.sigmas = schedule(runs.patcher, FEW_STEPS)
    full = runs.full()
    to_latent = runs.patcher.model.process_latent_out
    node = model.module("nodes.noise_reshift").S2FlowNoiseReshift
    latent, rest, noise = node.execute(
        model=runs.patcher,
        latent={"samples": to_latent(full.estimates[K - 1])},
        sigmas=runs.sigmas,
        k=K,
        scale=1.0,
        noise_mode="consistent",
        sigma_mode="literal",
        seed=0,
        noisy_latent={"samples": to_latent(full.states[K] / (1 - runs.sigmas[K]))},
    ).args
    resumed = runs.sample(noise.generate_noise(latent), rest, latent["samples"])
    return float((resumed - full.result).norm() / full.result.norm())


def variance_after_renoise(model: SmallModel) -> float:
    """Largest relative deviation over sigma and noise modes, on correlated data of 1.2 million values."""
    reshift = model.module("s2flow_core.transition.reshift")
    renoise = model.module("s2flow_core.latent.flow").renoise
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 4, 16, 5, 120, 120, generator=generator)
    clean = 0.6 * (clean + clean.roll(1, -1))
    small = reshift.shrink_estimate(clean, (60, 60))
    worst = 0.0
    for held in (noise, None):
        fresh = reshift.reshifted_noise(held, tuple(small.shape), seed=1)
        for sigma in (0.2, 0.5, 0.8, 0.95):
            expected = (1 - sigma) ** 2 * float(small.var()) + sigma**2
            worst = max(worst, abs(float(renoise(small, fresh, sigma).var()) / expected - 1))
    return worst


def published_sigmas(model: SmallModel) -> float:
    flow_map = model.module("s2flow_core.transition.flow_map")
    grid = flow_map.DEFAULT_GRIDS["flashvideo"]
    ours = flow_map.flow_map_sigmas(grid.steps, grid.shift)
    return float((ours - torch.tensor(PUBLISHED_SIGMAS)).abs().max())


def whole_window(model: SmallModel) -> float:
    shifted = model.module("s2flow_core.attention.temporal_windows")
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 5 * 16, 32, generator=generator)
    grid = model.module("s2flow_core.windows.grid").TokenGrid((5, 4, 4), (1, 1, 1))
    sequence = model.module("s2flow_core.attention.sequence").VideoSequence(grid)
    out = shifted.shifted_window_attention(q, k, v, sequence, shifted.TemporalWindow(5, shifted=True))
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return float((out - plain).abs().max())
