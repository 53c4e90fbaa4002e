"""What the attention of an HR run goes through: windows, scaled positions, both, or nothing."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....s2flow_core.attention.rotary import DEFAULT_ROPE, MEASURED_ROPE
from ....s2flow_core.plan.window_plan import WindowPlan
from ....s2flow_core.trajectory.trajectory import Trajectory
from ..families import family_of
from ..families.family import patched_grid
from ..model.checks import diffusion_model, require_family
from .feed_forward import WHOLE, FeedForwardChunks
from .for_gpus import hook_for_gpus, share_attention
from .hook import SelfAttentionHook
from .positions import SizeChange
from .windows import hook_for_windows


def hook_for(
    guider: Any,
    samples: Tensor,
    windows: WindowPlan | None,
    backend: str,
    change: SizeChange | None,
    feed_forward: FeedForwardChunks,
    gpus: int = 1,
) -> SelfAttentionHook | None:
    """What the model of an expert's guider runs through; None leaves it alone."""
    patcher = guider.model_patcher
    model = diffusion_model(patcher)
    if windows is None:
        family = family_of(model)
        if change is None and gpus < 2 and feed_forward.asked == WHOLE:
            return None
        if family is None and change is None and feed_forward.asked <= WHOLE:
            return hook_for_gpus(patcher, gpus)  # which says why there is none
        if family is None or (change is not None and change.temperature):
            family = require_family(
                patcher, "set rope to none, attention_temperature to off and feed_forward_chunks to 1"
            )
        hook = SelfAttentionHook(family, model)
    else:
        hook = hook_for_windows(patcher, windows, backend)
        hook.require_grid_of(samples, guider)
    if change is not None:
        change.require_rotary(hook.family)
        hook.size_change = change
    feed_forward.require_known(hook.family, model)
    hook.feed_forward = feed_forward
    share_attention(hook, gpus)
    return hook


def rope_for(rope: str) -> str:
    """What `auto` stands for; a mode chosen by name stays, and must be possible."""
    return MEASURED_ROPE if rope == DEFAULT_ROPE else rope


def size_change(
    trajectory: Trajectory | None, samples: Tensor, windows: WindowPlan | None, rope: str, temperature: bool
) -> SizeChange | None:
    """From the tokens that the model knows to those of this latent (B, C, T, H, W); None if nothing is to be
    adapted."""
    if rope == "none" and not temperature:
        return None
    if trajectory is None:
        raise ValueError(
            "rope and attention_temperature compare this size with the small run's, so they need its "
            "trajectory. Connect it, or set rope to none and attention_temperature to off."
        )
    density = 1.0 if windows is None else windows.density
    high = patched_grid(samples, trajectory.patch)
    return SizeChange(trajectory.small_shape, high, rope, temperature, density)
