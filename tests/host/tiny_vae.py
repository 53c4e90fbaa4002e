"""The video VAEs that people run, narrow and with random weights: found and wrapped by core's own `VAE`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

WAN = {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True]}
HUNYUAN = {
    "double_z": True,
    "z_channels": 16,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
    "conv3d": True,
    "time_compress": 4,
}
HUNYUAN15_WIDTHS = [32, 32, 32, 64, 64]
# LTX-Video 0.9's layers; a published file carries such a configuration in its metadata.
LTX = {
    "_class_name": "CausalVideoAutoencoder",
    "dims": 3,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 128,
    "blocks": [
        ["res_x", 1],
        ["compress_all", 1],
        ["res_x_y", 1],
        ["res_x", 1],
        ["compress_all", 1],
        ["res_x_y", 1],
        ["res_x", 1],
        ["compress_all", 1],
        ["res_x", 1],
    ],
    "scaling_factor": 1.0,
    "norm_layer": "pixel_norm",
    "patch_size": 4,
    "latent_log_var": "uniform",
    "use_quant_conv": False,
    "causal_decoder": False,
}


@dataclass(frozen=True)
class TinyVae:
    """latent_format: of the models it belongs to. compression: pixels per latent cell, (T, H, W)."""

    name: str
    latent_format: str
    channels: int
    compression: tuple[int, int, int]
    network: Callable[[], Any]
    narrowed: tuple[str, str] | None  # module and class that core builds it with, for a width of its own
    metadata: dict[str, str] | None = None

    def __str__(self) -> str:
        return self.name

    def load(self) -> Any:
        """What core's Load VAE gives. Core knows one width of most kinds; here the network is narrower."""
        import comfy.sd

        network = self.network()
        weights = {name: random_weight(name, value) for name, value in network.state_dict().items()}
        with narrow(*self.narrowed, network) if self.narrowed else nullcontext():
            vae = comfy.sd.VAE(sd=weights, metadata=self.metadata)
        vae.first_stage_model.requires_grad_(False)
        assert vae.latent_channels == self.channels
        return vae

    def frames(self, latent_frames: int) -> int:
        return (latent_frames - 1) * self.compression[0] + 1


@contextmanager
def narrow(module: str, name: str, network: Any) -> Iterator[None]:
    """For as long as core builds its VAE, the class gives this network instead of one of full width."""
    with patch.object(importlib.import_module(module), name, lambda *args, **settings: network):
        yield


def random_weight(name: str, value: Tensor) -> Tensor:
    """Noise that keeps amplitudes; norms and statistics that change nothing."""
    if "mean-of" in name:
        return torch.zeros(value.shape)
    if name.endswith("gamma") or "norm" in name or (value.ndim < 2 and not name.endswith("bias")):
        return torch.zeros(value.shape) if name.endswith("bias") else torch.ones(value.shape)
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    noise = torch.randn(value.shape, generator=generator)
    return noise * (value[0].numel() ** -0.5 if value.ndim > 1 else 0.1)


def wan_vae() -> Any:
    from comfy.ldm.wan.vae import WanVAE

    return WanVAE(dim=8, z_dim=16, attn_scales=[], dropout=0.0, **WAN)


def wan22_vae() -> Any:
    from comfy.ldm.wan.vae2_2 import WanVAE

    return WanVAE(dim=8, dec_dim=8, z_dim=48, attn_scales=[], dropout=0.0, **WAN)


def hunyuan_vae() -> Any:
    from comfy.ldm.models.autoencoder import AutoencoderKL

    return AutoencoderKL(ddconfig=HUNYUAN, embed_dim=16)


def hunyuan15_vae() -> Any:
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    settings = {
        "block_out_channels": HUNYUAN15_WIDTHS,
        "in_channels": 3,
        "out_channels": 3,
        "num_res_blocks": 2,
        "ffactor_spatial": 16,
        "ffactor_temporal": 4,
        "downsample_match_channel": True,
        "upsample_match_channel": True,
        "z_channels": 32,
    }
    place = "comfy.ldm.hunyuan_video.vae_refiner"
    return AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.EmptyRegularizer"},
        encoder_config={"target": f"{place}.Encoder", "params": settings},
        decoder_config={"target": f"{place}.Decoder", "params": settings},
    )


def ltx_vae() -> Any:
    from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE

    return VideoVAE(config=LTX)


VAES = [
    TinyVae("wan21", "Wan21", 16, (4, 8, 8), wan_vae, ("comfy.ldm.wan.vae", "WanVAE")),
    TinyVae("wan22", "Wan22", 48, (4, 16, 16), wan22_vae, ("comfy.ldm.wan.vae2_2", "WanVAE")),
    TinyVae("hunyuan", "HunyuanVideo", 16, (4, 8, 8), hunyuan_vae, ("comfy.sd", "AutoencoderKL")),
    TinyVae(
        "hunyuan15", "HunyuanVideo15", 32, (4, 16, 16), hunyuan15_vae, ("comfy.sd", "AutoencodingEngine")
    ),
    TinyVae(
        "ltx",
        "LTXV",
        128,
        (8, 32, 32),
        ltx_vae,
        None,
        {"config": json.dumps({"vae": LTX})},
    ),
]


@lru_cache
def loaded_vae(name: str) -> Any:
    return next(vae for vae in VAES if vae.name == name).load()


def start_picture(size: tuple[int, int, int], side: int) -> Tensor:
    """An image (1, height, width, 3) for a latent (T, H, W) whose cells are side pixels wide."""
    _, height, width = size
    generator = torch.Generator().manual_seed(9)
    return torch.rand(1, side * height, side * width, 3, generator=generator)
