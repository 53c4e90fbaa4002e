"""What a trajectory tells of its video beside the steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ....s2flow_core.latent.extra_frames import NO_EXTRA_FRAMES, ExtraFrames
from ....s2flow_core.latent.held_latent import HeldLatent
from ....s2flow_core.trajectory.trajectory import ModelIdentity, Trajectory
from ....s2flow_core.windows.grid import Triple
from ..families.family import patched_grid
from ..model.checks import identity_of, patch_of
from ..model.extra_frames import extra_frames
from .streams import VideoLatent


@dataclass(frozen=True)
class RecordedVideo:
    """Tokens, patch, model, what a mask held, and which frames are no video."""

    token_shape: Triple
    patch: Triple
    model: ModelIdentity
    held: HeldLatent | None
    extra: ExtraFrames = NO_EXTRA_FRAMES

    @classmethod
    def of_run(cls, guider: Any, given: VideoLatent, held: HeldLatent | None) -> RecordedVideo:
        """Of a guider's run on this latent, once it has run: some conditions are made ready only then."""
        patcher = guider.model_patcher
        patch = patch_of(patcher)
        tokens = patched_grid(given.video, patch)
        return cls(tokens, patch, identity_of(patcher), held, extra_frames(guider, given.video))

    def completed(self, record: Trajectory, final: VideoLatent) -> Trajectory:
        """The record with what stands beside its video. final: of the run, in LATENT space."""
        beside = tuple(stream.detach().to("cpu", torch.float32, copy=True) for stream in final.beside)
        return replace(record, beside=beside, extra=self.extra)
