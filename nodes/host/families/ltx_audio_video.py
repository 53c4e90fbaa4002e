"""LTX-2: LTX-Video with a second, narrower stack for the sound, and cross-attention between both."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .family import ModelFamily, TokenLayout
from .ltx_video import LtxVideo


class LtxAudioVideo(LtxVideo):
    """A block asks for attention six times, for picture and sound by turns; the video's own is the widest.

    It runs without sound too.
    """

    name = "ltx_audio_video"
    model_class = "LTXAVModel"
    streams = (1, 2)

    def matches(self, model: Any) -> bool:
        return ModelFamily.matches(self, model)

    def is_self_attention(self, model: Any, q: Tensor, k: Tensor, layout: TokenLayout, first: bool) -> bool:
        own = model.transformer_blocks[0].attn1
        of_video = k.shape[-2] == layout.total and q.shape[-1] == own.heads * own.dim_head
        return of_video and super().is_self_attention(model, q, k, layout, first)
