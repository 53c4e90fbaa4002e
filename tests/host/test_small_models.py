"""The small models' files and their training code against ComfyUI's own classes."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange

from demo.clips.scenes import draw_scene, render
from demo.files import DIT_FILE, VAE_FILE

LARGEST_FILES_BYTES = 40e6


@pytest.fixture(scope="module")
def vae(comfy_modules):
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(VAE_FILE)))


def test_shipped_files_are_small_and_half_precision():
    from safetensors import safe_open
    from safetensors.torch import load_file

    assert VAE_FILE.stat().st_size + DIT_FILE.stat().st_size <= LARGEST_FILES_BYTES
    for path in (VAE_FILE, DIT_FILE):
        with safe_open(path, "pt") as file:
            assert file.metadata()["modelspec.license"] == "MIT"
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_core_detects_the_small_dit(comfy_modules):
    import comfy.sd

    model = comfy.sd.load_diffusion_model(str(DIT_FILE)).model
    assert type(model).__name__ == "WAN21"
    assert (model.diffusion_model.dim, model.diffusion_model.num_heads) == (256, 2)


def test_one_pass_over_a_clip_equals_the_cached_chunks(comfy_modules):
    """The training pass and ComfyUI's frame cache give the same latents and frames."""
    from training.vae_clip import build_vae, decode_clip, encode_clip

    torch.manual_seed(0)
    vae = build_vae(8).eval()
    clip = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        latent = vae.encode(clip)
        assert torch.allclose(encode_clip(vae, clip), latent, atol=1e-5)
        assert torch.allclose(decode_clip(vae, latent), vae.decode(latent), atol=1e-5)


def test_folding_the_latent_scale_keeps_the_reconstruction(comfy_modules):
    from training.vae_clip import build_vae, decode_clip, encode_clip
    from training.wan import fold_latent_scale

    torch.manual_seed(0)
    vae = build_vae(8).eval()
    clip = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    with torch.no_grad():
        latent = encode_clip(vae, clip)
        before = decode_clip(vae, latent)
        flat = rearrange(latent, "b c t h w -> c (b t h w)")
        fold_latent_scale(vae, flat.mean(dim=1), flat.std(dim=1))
        scaled = encode_clip(vae, clip)
        after = decode_clip(vae, scaled)
    assert torch.allclose(before, after, atol=1e-4)
    import comfy.latent_formats

    model_space = rearrange(comfy.latent_formats.Wan21().process_in(scaled), "b c t h w -> c (b t h w)")
    assert torch.allclose(model_space.mean(dim=1), torch.zeros(16), atol=1e-3)
    assert torch.allclose(model_space.std(dim=1), torch.ones(16), atol=1e-3)


@pytest.mark.parametrize("size", [128, 256])
def test_shipped_vae_reconstructs_a_held_out_clip(vae, size):
    clip = render(draw_scene(1_000_000), size, frames=5)
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(clip))[0].clamp(0, 1)
    assert -10 * torch.log10((decoded - clip).square().mean()) >= 28
