"""Writes an LR run down, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..files.run_state import RunState
from ..latent.finite import all_finite
from ..latent.flow import check_sigmas
from ..latent.held_latent import HeldLatent
from ..latent.resample import check_finite
from ..reach.record import AttentionReach
from .trajectory import ModelIdentity, Trajectory


class TrajectoryRecorder:
    """Collects the steps of one run; the only mutable state between the first model call and the record.

    dtype float16 keeps a 50-step 1280×768 record of 117 frames below 1.5 GB; a value that does not fit
    into it is reported at its step.
    """

    def __init__(self, dtype: torch.dtype = torch.float16):
        self._dtype = dtype
        self._sigmas: list[float] = []
        self._denoised: list[Tensor] = []
        self._noise: list[Tensor] = []

    def record(self, sigma: Tensor | float, denoised: Tensor, noise: Tensor) -> None:
        """Keep one model call: its sigma, D in LATENT space and the noise estimate, each (B, C, T, H, W).

        Raises ValueError if one of them holds NaN, infinity or what the record's dtype cannot hold.
        """
        clean, fresh = self._kept(denoised, "clean estimate"), self._kept(noise, "noise estimate")
        self._sigmas.append(float(sigma))
        self._denoised.append(clean)
        self._noise.append(fresh)

    def _kept(self, latent: Tensor, name: str) -> Tensor:
        kept = latent.detach().to("cpu", self._dtype, copy=True)
        if not all_finite(kept):
            largest = float(latent.abs().max())
            raise ValueError(
                f"The {name} of step {len(self._sigmas) + 1} reaches {largest:.3g}, and the trajectory keeps "
                f"numbers up to {torch.finfo(self._dtype).max:.3g}. Set precision to full in the Low-Res "
                "Sampler; if it is set already, load the model in bf16 or fp32."
            )
        return kept

    def state(self, steps: int) -> dict[str, Tensor]:
        """The first `steps` steps, to go on from after a stop: (N, B, C, T, H, W) each; empty for none.

        A run that fails within a step may have kept more.
        """
        if steps <= 0:
            return {}
        return {"denoised": torch.stack(self._denoised[:steps]), "noise": torch.stack(self._noise[:steps])}

    def restore(self, state: RunState, prefix: str, sigmas: Tensor, shape: tuple[int, ...]) -> None:
        """Take over what an earlier process kept of the steps at `sigmas` (N,), latents (B, C, T, H, W).

        prefix: of the names in `state`. Raises DamagedFile where something else is there.
        """
        form = (len(sigmas), *shape)
        self._sigmas = [float(sigma) for sigma in sigmas]
        self._denoised = list(state.tensor(f"{prefix}denoised", form, (self._dtype,)))
        self._noise = list(state.tensor(f"{prefix}noise", form, (self._dtype,)))

    def finish(
        self,
        final: Tensor,
        token_shape: tuple[int, int, int],
        patch: tuple[int, int, int],
        model: ModelIdentity,
        seconds: float,
        reach: AttentionReach | None = None,
        end_sigma: float = 0.0,
        held: HeldLatent | None = None,
    ) -> Trajectory:
        """The finished record of the N steps that were kept; tensors are copied to the CPU.

        final: (B, C, T, H, W), the run's LATENT-space result at `end_sigma`. token_shape, patch: (T, H, W) in
        tokens and in latent cells per token. seconds: of the whole run. Raises ValueError if the sigma do not
        fall or the result holds NaN or infinity.
        """
        sigmas = torch.tensor([*self._sigmas, end_sigma], dtype=torch.float32)
        check_sigmas(sigmas, "the recorded run", to_zero=False)
        denoised, noise = torch.stack(self._denoised), torch.stack(self._noise)  # (N, B, C, T, H, W)
        final = final.detach().to("cpu", torch.float32, copy=True)
        check_finite(final, "The recorded run's result")
        return Trajectory(
            sigmas, denoised, noise, final, reach, token_shape, patch, model, seconds, held=held
        )
