"""Tiny checkpoints in place of the files that workflows name: models, VAEs and texts of the real kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_h3 import H3_VARIANTS
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_ltx import LTX_VARIANTS
from tiny_ltx2 import LTX2_VARIANTS
from tiny_vae import loaded_vae
from tiny_variant import Variant
from tiny_wan_variants import CLIP_TOKENS, WAN_VARIANTS, ClipVision

EVERY = (*WAN_VARIANTS, *HUNYUAN_VARIANTS, *LTX_VARIANTS, *LTX2_VARIANTS, *H3_VARIANTS)
VARIANTS = {variant.name: variant for variant in EVERY}
# Beginning of a model's file -> the variant, and the VAE of its family.
KINDS = {
    "wan2.1_t2v": ("wan21_t2v", "wan21"),
    "wan2.1_i2v": ("wan21_i2v", "wan21"),
    "wan2.2_t2v": ("wan22_14b_t2v", "wan21"),
    "wan2.2_i2v": ("wan22_14b_i2v", "wan21"),
    "wan2.2_ti2v_5B": ("wan22_5b", "wan22"),
    "hunyuan_video": ("hunyuan_t2v", "hunyuan"),
    "hunyuanvideo1.5": ("hunyuan15", "hunyuan15"),
    "ltx-video": ("ltx_video", "ltx"),
    "ltx-2": ("ltx2_text", "ltx"),
    "minimax_h3_fl2va": ("h3_text", ""),
}


def kind_of(prompt: dict[str, Any]) -> tuple[Variant, str]:
    """The variant and the name of the VAE that a prompt's model file stands for."""
    names = [node["inputs"].get("unet_name") or node["inputs"].get("ckpt_name") for node in prompt.values()]
    name = next(name for name in names if name)
    kind = next(kind for start, kind in KINDS.items() if name.startswith(start))
    return VARIANTS[kind[0]], kind[1]


class TinyText:
    """A text encoder: other words, other conditioning, of the width that the variant reads."""

    def __init__(self, variant: Variant):
        self.variant = variant

    def tokenize(self, text: str, **more: Any) -> int:
        return sum(map(ord, text)) + 1

    def encode_from_tokens_scheduled(self, seed: int, **more: Any) -> list[Any]:
        conditions = self.variant.conditions(self.variant.size)
        of_pictures = ("concat_latent_image", "concat_mask", "clip_vision_output")
        return [[self.variant.text(seed), {k: v for k, v in conditions.items() if k not in of_pictures}]]


class TinyPicture:
    """CLIP Vision, of the width that Wan reads."""

    def encode_image(self, *given: Any, **more: Any) -> ClipVision:
        return ClipVision(CLIP_TOKENS)


class TinyH3Vae:
    """Of MiniMax H3 there is no tiny VAE: pictures of the size that its latents stand for."""

    latent_channels = 24

    def decode(self, latent: Any, *given: Any, **more: Any) -> torch.Tensor:
        frames = latent.shape[2] // 5 * 17 + latent.shape[2] % 5 * 4 - 3
        height, width = (16 * side for side in latent.shape[-2:])
        return torch.zeros(1, frames, height, width, 3)


class Loaders:
    """What loader nodes give, by class of the node."""

    def __init__(self, prompt: dict[str, Any], folder: Path):
        self.variant, self.vae_name = kind_of(prompt)
        self.variant.require_host()
        self.folder = folder

    def answer(self, kind: str) -> tuple[Any, ...] | None:
        """The outputs of a node; None for nodes that load nothing."""
        if kind == "UNETLoader":
            return (self.model(),)
        if kind == "CheckpointLoaderSimple":
            return self.model(), None, self.vae()
        if kind == "LoraLoaderModelOnly":
            return (self.model(),)
        if kind in ("CLIPLoader", "DualCLIPLoader", "LTXAVTextEncoderLoader"):
            return (TinyText(self.variant),)
        if kind == "VAELoader":
            return (self.vae(),)
        return (TinyPicture(),) if kind == "CLIPVisionLoader" else None

    def model(self) -> Any:
        return self.variant.load(self.folder)

    def vae(self) -> Any:
        return loaded_vae(self.vae_name) if self.vae_name else TinyH3Vae()
