"""The VAE path of S²Flow Upsample: an upscale model in between, and tiles where memory is short."""

from __future__ import annotations

import pytest
import torch

from demo.files import VAE_FILE


@pytest.fixture(scope="module")
def trajectory(graph):
    return graph.low_res(capture_rows=0)[1]


@pytest.fixture(scope="module")
def vae(comfy_modules):
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(VAE_FILE)))


@pytest.fixture(scope="module")
def upscale_model(comfy_modules, tmp_path_factory):
    """A real 4x architecture with small random weights, through core's loader."""
    from safetensors.torch import save_file
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("upscale") / "compact.safetensors"
    save_file(SRVGGNetCompact(num_feat=8, num_conv=2, upscale=4).state_dict(), file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("folder_paths.get_full_path_or_raise", lambda kind, name: str(file))
        return comfy_modules.node("UpscaleModelLoader").execute(file.name).args[0]


def test_an_upscale_model_works_between_decoding_and_resizing(graph, trajectory, vae, upscale_model):
    from s2flow_core.latent.resample import resize_video
    from s2flow_core.transition.upsample import clean_estimate

    latent, *_ = graph.upsample(trajectory, vae=vae, upscale_model=upscale_model)
    frames = vae.decode(clean_estimate(trajectory, 3))[0]
    with torch.no_grad():
        large = upscale_model(frames.movedim(-1, 1)).clamp(0, 1).movedim(1, -1)
    assert large.shape[1] == 4 * frames.shape[1]
    expected = vae.encode(resize_video(large, (128, 128)))
    assert torch.allclose(latent["samples"], expected, atol=1e-4)
    plain, *_ = graph.upsample(trajectory, vae=vae)
    assert not torch.allclose(latent["samples"], plain["samples"], atol=1e-2)


def test_upscaled_frames_never_lie_in_memory_together(graph, trajectory, vae, upscale_model, monkeypatch):
    module = graph.modules.pack("nodes.host.size.enlarge_in_pixels")
    resize, resized = module.resize_video, []
    monkeypatch.setattr(module, "resize_video", lambda x, *size: resized.append(len(x)) or resize(x, *size))
    graph.upsample(trajectory, vae=vae, upscale_model=upscale_model)
    assert len(resized) > 1
    assert set(resized) == {1}


def test_an_upscale_model_without_a_vae_is_refused(graph, trajectory, upscale_model):
    with pytest.raises(ValueError, match="Connect the model's VAE"):
        graph.upsample(trajectory, upscale_model=upscale_model)


# Tiles of half the large picture cut only its encoding; those that cut the small one too show more seams of
# a random VAE.
@pytest.mark.parametrize(("tile", "doing", "most"), [(96, "encoding", 0.2), (48, "decoding", 0.3)])
def test_what_exceeds_the_memory_runs_in_tiles(
    graph, trajectory, vae, monkeypatch, caplog, tile, doing, most
):
    room = graph.modules.pack("nodes.host.size.video_pixels")
    whole, *_ = graph.upsample(trajectory, vae=vae)
    # A VAE that asks for more than any machine has.
    monkeypatch.setattr(room, "TILES", (96, tile))
    monkeypatch.setattr(vae, "memory_used_decode", lambda shape, dtype: 1e18)
    monkeypatch.setattr(vae, "memory_used_encode", lambda shape, dtype: 1e18)
    with caplog.at_level("INFO"):
        tiled, *_ = graph.upsample(trajectory, vae=vae)
    assert f"{doing} in tiles" in caplog.text
    error = (tiled["samples"] - whole["samples"]).norm() / whole["samples"].norm()
    assert 0 < error < most
