"""Operations of ComfyUI's own video VAEs, counted without computing anything."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

_LATENT = (5, 16, 16)  # the count per pixel no longer changes by more than a few percent from here


def vae_flops(name: str) -> tuple[float, float]:
    """Operations per pixel and frame to decode and to encode; "hunyuan", "wan" or "wan22".

    `import_comfy` must have run. Nearly all are convolutions, so the count grows with the pixels.
    """
    with FakeTensorMode(), torch.no_grad():
        vae, channels, side = build(name)
        frames, height, width = _LATENT
        latent = torch.zeros(1, channels, frames, height, width)
        pixels = torch.zeros(1, 3, 4 * frames - 3, side * height, side * width)
        counts = []
        for run, given in ((vae.decode, latent), (vae.encode, pixels)):
            with FlopCounterMode(display=False) as counter:
                run(given)
            counts.append(counter.get_total_flops() / pixels[0, 0].numel())
    return counts[0], counts[1]


def build(name: str) -> tuple[Any, int, int]:
    """The VAE as comfy.sd makes it from a published file, its channels and pixels per cell."""
    settings: dict[str, Any]
    if name == "hunyuan":
        from comfy.ldm.models.autoencoder import AutoencoderKL

        settings = {
            "double_z": True,
            "z_channels": 16,
            "resolution": 256,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 128,
            "ch_mult": [1, 2, 4, 4],
            "num_res_blocks": 2,
            "attn_resolutions": [],
            "dropout": 0.0,
            "conv3d": True,
            "time_compress": 4,
        }
        return AutoencoderKL(ddconfig=settings, embed_dim=16), 16, 8
    settings = {
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_scales": [],
        "temperal_downsample": [False, True, True],
        "dropout": 0.0,
    }
    if name == "wan":
        from comfy.ldm.wan.vae import WanVAE

        return WanVAE(dim=96, z_dim=16, **settings), 16, 8
    if name == "wan22":
        from comfy.ldm.wan.vae2_2 import WanVAE as Wan22VAE

        return Wan22VAE(dim=160, z_dim=48, **settings), 48, 16
    raise ValueError(f"There is no VAE '{name}'.")
