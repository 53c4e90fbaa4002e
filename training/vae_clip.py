"""The Wan VAE on a whole clip at once, for training.

ComfyUI's class encodes and decodes in chunks of four frames that pass a
feature cache on. All its convolutions are causal, so one pass over the clip
gives the same numbers; it is what makes training on a CPU bearable.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

# ComfyUI's modules, whose attributes a type checker cannot know.
HostModule = Any


def build_vae(dim: int) -> HostModule:
    """ComfyUI's Wan 2.1 VAE at a given width, with weights that training can start from."""
    from comfy.ldm.wan.vae import AttentionBlock, ResidualBlock, WanVAE

    vae = WanVAE(dim=dim, z_dim=16, temperal_downsample=[False, True, True])
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            nn.init.zeros_(module.get_parameter("bias"))
            if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
                # Single frames train the newest tap only; the others start where they do no harm to clips.
                module.weight.data[:, :, :2] *= 0.1
    for module in vae.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.residual[-1].weight)
        if isinstance(module, AttentionBlock):
            nn.init.zeros_(module.proj.weight)
    return freeze_attention(vae)


def freeze_attention(vae: HostModule) -> HostModule:
    """Attention over a whole frame would tie the VAE to its crops' size; it stays without effect."""
    from comfy.ldm.wan.vae import AttentionBlock

    for module in vae.modules():
        if isinstance(module, AttentionBlock):
            module.requires_grad_(False)
    return leave_out_idle_attention(vae)


def leave_out_idle_attention(vae: HostModule) -> HostModule:
    """Notes once which attention changes nothing: looking at its weights in every pass waits for a GPU."""
    from comfy.ldm.wan.vae import AttentionBlock

    for module in vae.modules():
        if isinstance(module, AttentionBlock):
            module.left_out = not module.proj.weight.any()
    return vae


def resample_clip(layer: HostModule, x: Tensor) -> Tensor:
    """ComfyUI's Resample without its cache: the first frame has no partner in time."""
    if layer.mode == "upsample3d" and x.shape[2] > 1:
        first, rest = x[:, :, :1], layer.time_conv(x[:, :, 1:])
        rest = rearrange(rest, "b (two c) t h w -> b c (t two) h w", two=2)
        x = torch.cat([first, rest], dim=2)
    frames = x.shape[2]
    x = layer.resample(rearrange(x, "b c t h w -> (b t) c h w"))
    x = rearrange(x, "(b t) c h w -> b c t h w", t=frames)
    if layer.mode == "downsample3d" and frames > 1:
        x = torch.cat([x[:, :, :1], layer.time_conv(x)], dim=2)
    return x


def normalise_clip(layer: HostModule, x: Tensor) -> Tensor:
    """ComfyUI's RMS_norm; its vector norm over channels takes most of an encoder's time on a CPU."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-20) * layer.gamma


def run_layers(layers: HostModule, x: Tensor) -> Tensor:
    from comfy.ldm.wan.vae import AttentionBlock, Resample, ResidualBlock, RMS_norm

    for layer in layers:
        if isinstance(layer, AttentionBlock) and getattr(layer, "left_out", False):
            continue
        if isinstance(layer, Resample):
            x = resample_clip(layer, x)
        elif isinstance(layer, ResidualBlock):
            x = run_layers(layer.residual, x) + layer.shortcut(x)
        elif isinstance(layer, RMS_norm):
            x = normalise_clip(layer, x)
        else:
            x = layer(x)
    return x


def encode_clip(vae: HostModule, frames: Tensor) -> Tensor:
    """frames: (B, 3, T, H, W) in -1..1, T = 4n+1 -> mean latent (B, 16, n+1, H/8, W/8)."""
    encoder = vae.encoder
    x = run_layers(encoder.downsamples, encoder.conv1(frames))
    x = run_layers(encoder.head, run_layers(encoder.middle, x))
    return vae.conv1(x).chunk(2, dim=1)[0]


def decode_clip(vae: HostModule, latent: Tensor) -> Tensor:
    """latent: (B, 16, n+1, h, w) -> frames (B, 3, 4n+1, 8h, 8w) around -1..1."""
    decoder = vae.decoder
    x = run_layers(decoder.middle, decoder.conv1(vae.conv2(latent)))
    return run_layers(decoder.head, run_layers(decoder.upsamples, x))
