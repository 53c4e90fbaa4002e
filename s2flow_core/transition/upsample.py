"""From LR to HR: the clean estimate, the sigma that are left, and the size to go to.

A switch of size is always the triple (clean LATENT, SIGMAS, NOISE); the state `(1-sigma)·latent +
sigma·noise` is formed by the sampler that takes over. The paper (Eq. 5) decodes the noisy state itself, which
no VAE has been trained for; decoding the clean estimate and noising again is the same step without that
fault.
"""

from __future__ import annotations

from torch import Tensor

from ..latent.flow import SAME_SIGMA, SNR_MODES, snr_matched_sigma
from ..latent.held_latent import HeldLatent
from ..latent.resample import check_finite
from ..trajectory.trajectory import Trajectory

CLEAN_SOURCES = ("step", "final")
DEFAULT_SHARE = 0.6  # the paper leaves 30 of 50


def check_steps_left(steps: int, steps_left: int) -> None:
    """Raise a ValueError unless 1 <= steps_left <= steps."""
    if not 1 <= steps_left <= steps:
        raise ValueError(
            f"t_i (steps left for high resolution) is {steps_left}, but the LR run recorded {steps} steps. "
            f"Choose 1 to {steps}, or 0 to let share decide; the paper leaves 30 of 50."
        )


def chosen_steps_left(steps: int, t_i: int, share: float = DEFAULT_SHARE) -> int:
    """How many of the recorded steps run again: t_i of them, or with t_i = 0 a share, at least one.

    share: above 0 to 1, of `steps`. So it fits every schedule: .6 is 30 of 50, 12 of 20 and 2 of 4.
    Raises ValueError for a t_i that is not 0 to `steps`, and for another share.
    """
    if t_i:
        check_steps_left(steps, t_i)
        return t_i
    if not 0 < share <= 1:
        raise ValueError(f"share is {share:g}; choose a share of the steps above 0 and up to 1.")
    return max(1, round(share * steps))


def tail_sigmas(sigmas: Tensor, steps_left: int, snr: str = "literal", scale: float = 1.0) -> Tensor:
    """The sigma of the last `steps_left` steps, (steps_left+1,).

    snr "literal": the same sigma as at LR (the paper). "snr_matched": sigma' = s·sigma/(1+(s-1)·sigma), so
    that the coarse part of the HR state is exactly as noisy as the LR state was; `scale` is the linear size
    ratio s. sigmas: (N+1,) of the LR run. Raises ValueError unless 1 <= steps_left <= N, and for another
    mode.
    """
    check_steps_left(len(sigmas) - 1, steps_left)
    tail = sigmas[len(sigmas) - 1 - steps_left :]
    if snr == "literal":
        return tail.clone()
    if snr == "snr_matched":
        return snr_matched_sigma(tail, scale)
    raise ValueError(f"Unknown SNR mode '{snr}'; choose one of {', '.join(SNR_MODES)}.")


def recorded_scale(sigmas: Tensor, record: Tensor, scale: float) -> float:
    """The `snr_scale` at which HR sigmas meet the LR record: `scale` if they were matched to it, else 1.

    sigmas: (n+1,) of the HR run; record: (N+1,) of the LR run. Sigmas that fit neither way are
    interpolated in the record as they are.
    """

    def meets(candidates: Tensor) -> bool:
        distance = (sigmas[:-1, None] - candidates[None, :-1]).abs().amin(dim=1)
        return bool((distance < SAME_SIGMA).all())

    record, sigmas = record.float().cpu(), sigmas.float().cpu()
    matched = not meets(record) and meets(snr_matched_sigma(record, scale))
    return scale if matched else 1.0


def require_recorded_steps(sigmas: Tensor, record: Tensor, scale: float) -> None:
    """Raise a ValueError unless every HR step answers to one LR step.

    sigmas: (n+1,) of the HR run, which must be the last n steps of the LR run's record (N+1,), as they
    are or matched to `scale`.
    """
    steps_left = len(sigmas) - 1
    for snr in SNR_MODES if steps_left < len(record) else ():
        recorded = tail_sigmas(record.float().cpu(), steps_left, snr, scale)
        if (recorded - sigmas.float().cpu()).abs().max() < SAME_SIGMA:
            return
    raise ValueError(
        f"The {steps_left} steps of the High-Res Sampler are not the last steps of the trajectory, so it "
        "cannot say what happens in them. Connect the sigmas of S²Flow Upsample, or set skip_share and "
        "alignment to 0."
    )


def clean_estimate(trajectory: Trajectory, steps_left: int, source: str = "step") -> Tensor:
    """LATENT-space clean estimate (B, C, T, H, W), float32, from which HR starts; what a mask held as given.

    Where a mask held partly, it is the mixture that the run had there; `HeldLatent.drawn_to` is what it was
    drawn to.

    source "step": D of the LR step whose sigma the HR run starts at (the paper's point of the path).
    "final": the finished LR video, sharper, and what the artist has seen in the preview.
    Raises ValueError for a step that was not recorded, another source, or an estimate that is not finite.
    """
    check_steps_left(trajectory.steps, steps_left)
    if source == "final":
        clean, name = trajectory.final, "The LR run's final latent"
    elif source == "step":
        index = trajectory.steps - steps_left
        clean, name = trajectory.denoised[index], f"The clean estimate of LR step {index + 1}"
    else:
        raise ValueError(f"Unknown clean estimate '{source}'; choose one of {', '.join(CLEAN_SOURCES)}.")
    check_finite(clean, name)
    clean = clean.float()
    held = held_in_last_steps(trajectory, trajectory.sigmas[-steps_left - 1 :])
    return clean if held is None else held.laid_over(clean)


def held_in_last_steps(trajectory: Trajectory, rest: Tensor) -> HeldLatent | None:
    """What holds in a run over `rest` (n+1,): the sigma of the last n steps, as they are or matched."""
    return None if trajectory.held is None else trajectory.held.in_last_steps(trajectory.sigmas, rest)


def step_noise(trajectory: Trajectory, steps_left: int) -> Tensor:
    """Noise (B, C, T, H, W), float32 in model space, that the LR state held at the step HR starts from.

    Raises ValueError for a step that was not recorded, or noise that is not finite.
    """
    check_steps_left(trajectory.steps, steps_left)
    index = trajectory.steps - steps_left
    noise = trajectory.noise[index]
    check_finite(noise, f"The noise estimate of LR step {index + 1}")
    return noise.float()
