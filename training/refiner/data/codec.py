"""A VAE as training sees it: pixels to model space and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from s2flow_core.latent.resample import resize_video
from training.precision import fast_precision
from training.vae_clip import decode_clip
from training.wan import load_vae, read_vae, wan_latent_format


class Codec(Protocol):
    """Frames (T, H, W, 3) in 0..1 to a latent (1, C, t, h, w) in model space, and back."""

    def encode(self, frames: Tensor) -> Tensor: ...

    def decode(self, latent: Tensor) -> Tensor: ...


class CoreCodec:
    """Any VAE that ComfyUI loads, with the latent format of the model.

    Raises SystemExit for a file that holds no VAE, or one with other latent channels than the format.
    """

    def __init__(self, path: Path, latent_format: Any):
        import comfy.sd
        import comfy.utils

        self.vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)))
        self.latent_format = latent_format
        wanted = latent_format.latent_channels
        if self.vae.first_stage_model is None:
            raise SystemExit(f"{path} is no VAE: give --vae the Wan 2.1 VAE (wan_2.1_vae.safetensors).")
        if self.vae.latent_channels != wanted:
            raise SystemExit(
                f"The latents of {path} have {self.vae.latent_channels} channels, and Wan 2.1's {wanted}: "
                f"give --vae the Wan 2.1 VAE (wan_2.1_vae.safetensors)."
            )

    def encode(self, frames: Tensor) -> Tensor:
        return self.latent_format.process_in(self.vae.encode(frames).float().cpu())

    def decode(self, latent: Tensor) -> Tensor:
        return self.vae.decode(self.latent_format.process_out(latent))[0].float().cpu().clamp(0, 1)


class WholeClipCodec:
    """The demo's Wan VAE on whole clips at once, several times faster on a CPU than in chunks.

    It computes on the device; what goes in and comes out is on the CPU.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        self.device = torch.device(device)
        self.encoder, self.to_model_space = load_vae(path, device)
        self.vae = read_vae(path).to(device)
        self.latent_format = wan_latent_format()

    def encode(self, frames: Tensor) -> Tensor:
        with torch.no_grad():
            return self.to_model_space(self.encoder(frames))

    def decode(self, latent: Tensor) -> Tensor:
        latent = self.latent_format.process_out(latent).to(self.device)
        with torch.no_grad(), fast_precision(self.device.type):
            clip = decode_clip(self.vae, latent).float().cpu()
        return (rearrange(clip, "1 c t h w -> t h w c") / 2 + 0.5).clamp(0, 1)


def encode_pair(codec: Codec, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (C, t, H, W) of a large clip and of its small version, the latter enlarged in pixels.

    high: (T, H, W, 3); low: (T, h, w, 3). The small clip goes through the VAE twice, as in the Refiner
    Sampler: what arrives there is a small latent.
    """
    preview = codec.decode(codec.encode(low))
    enlarged = resize_video(preview, (high.shape[1], high.shape[2]), "bicubic")
    return codec.encode(high)[0], codec.encode(enlarged)[0]
