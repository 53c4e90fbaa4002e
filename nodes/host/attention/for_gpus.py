"""How many GPUs compute the attention of a run, where that may be all that changes."""

from __future__ import annotations

import logging
from typing import Any

from ..model.checks import diffusion_model, require_family
from .hook import SelfAttentionHook

log = logging.getLogger(__name__)


def hook_for_gpus(patcher: Any, gpus: int) -> SelfAttentionHook | None:
    """What shares the attention of one ModelPatcher; None for one GPU, or where it is out of reach."""
    if gpus < 2:
        return None
    try:
        family = require_family(patcher, "set gpus to 1")
    except ValueError as reason:
        log.warning("S²Flow leaves the attention on one GPU. %s", reason)
        return None
    hook = SelfAttentionHook(family, diffusion_model(patcher))
    share_attention(hook, gpus)
    return hook


def share_attention(hook: SelfAttentionHook, gpus: int) -> None:
    """Lets so many GPUs compute what runs through a hook."""
    hook.sharing.gpus = gpus
    if gpus > 1 and not hook.sees_calls and hook.logit_factor == 1:
        hook.work = "gpus"  # the only thing that it does to attention
