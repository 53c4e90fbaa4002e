"""The two shipped files: built from ComfyUI's own model classes, saved in the published key layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .precision import fast_precision
from .vae_clip import HostModule, encode_clip, leave_out_idle_attention

# The smallest Wan that ComfyUI detects: it takes the head count from dim // 128.
DIT_SETTINGS: dict[str, Any] = {
    "model_type": "t2v",
    "patch_size": (1, 2, 2),
    "in_dim": 16,
    "out_dim": 16,
    "dim": 256,
    "ffn_dim": 1024,
    "freq_dim": 256,
    "num_heads": 2,
    "num_layers": 8,
}


def wan_latent_format():
    from comfy.latent_formats import Wan21

    return Wan21()


def new_dit(**changes: Any) -> HostModule:
    """ComfyUI's WanModel with the initial weights of the published training code.

    changes: settings that differ from DIT_SETTINGS, e.g. fewer layers for a test.
    """
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    settings = DIT_SETTINGS | changes
    model = WanModel(**settings, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    module: HostModule
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.xavier_uniform_(module.weight.data.flatten(1))
            nn.init.constant_(module.get_parameter("bias"), 0)
        elif getattr(module, "elementwise_affine", False):
            nn.init.ones_(module.weight)
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()
    for embedding in (model.text_embedding, model.time_embedding):
        for layer in embedding:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
    for parameter_owner in [*model.blocks, model.head]:
        nn.init.normal_(parameter_owner.modulation, std=settings["dim"] ** -0.5)
    nn.init.zeros_(model.head.head.weight)
    return model


def save_half(state: dict[str, Tensor], path: Path, title: str) -> None:
    """Writes half-precision weights with the licence of the code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().to(torch.float16).contiguous() for name, value in state.items()}
    metadata = {"modelspec.title": title, "modelspec.license": "MIT", "format": "pt"}
    save_file(weights, path, metadata=metadata)


def fold_latent_scale(vae: HostModule, mean: Tensor, std: Tensor) -> None:
    """Gives the latents the statistics that ComfyUI's Wan latent format expects.

    mean, std: (16,) of the VAE's latents over training clips. Only the 1x1x1 convolutions on both sides
    of the latent change, so the reconstruction stays what it was.
    """
    target = wan_latent_format()
    target_mean, target_std = target.latents_mean.flatten(), target.latents_std.flatten()
    gain = target_std / std
    offset = target_mean - mean * gain
    with torch.no_grad():
        vae.conv1.weight[:16] *= gain[:, None, None, None, None]
        vae.conv1.bias[:16] = vae.conv1.bias[:16] * gain + offset
        vae.conv2.bias -= (vae.conv2.weight.flatten(1) * (offset / gain)).sum(dim=1)
        vae.conv2.weight /= gain[None, :, None, None, None]


def read_vae(path: Path) -> HostModule:
    """A saved VAE in single precision."""
    from comfy.ldm.wan.vae import WanVAE

    weights = {name: value.float() for name, value in load_file(path).items()}
    dim = weights["decoder.head.0.gamma"].shape[0]
    vae = WanVAE(dim=dim, z_dim=16, temperal_downsample=[False, True, True])
    vae.load_state_dict(weights)
    return leave_out_idle_attention(vae)


def load_vae(
    path: Path, device: str = "cpu"
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The encoder of a saved VAE and the map from its latents to model space, both for training.

    The encoder takes frames (T, H, W, 3) or clips (B, T, H, W, 3) in 0..1, computes on the device and returns
    (1 or B, 16, t, h, w) on the CPU.
    """
    vae = read_vae(path).eval().to(device)

    def encode(frames: Tensor) -> Tensor:
        clips = frames[None] if frames.ndim == 4 else frames
        clip = rearrange(clips.to(device), "b t h w c -> b c t h w") * 2 - 1
        with fast_precision(torch.device(device).type):
            return encode_clip(vae, clip.contiguous(memory_format=torch.channels_last_3d)).float().cpu()

    return encode, wan_latent_format().process_in
