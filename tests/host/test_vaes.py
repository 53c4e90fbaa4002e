"""S²Flow Upsample through the pixels of every VAE that its models have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from test_families import VARIANTS
from tiny_vae import VAES, TinyVae
from tiny_variant import variant_graph

LATENT = (2, 4, 4)
T_I = 3


@dataclass
class Case:
    """A VAE and the LR run of a model whose latents it decodes."""

    vae: TinyVae
    loaded: Any
    graph: Any
    trajectory: Any


@pytest.fixture(scope="module", params=VAES, ids=str)
def case(request, comfy_modules, tmp_path_factory):
    vae = request.param
    variant = next(v for v in VARIANTS if v.latent_format == vae.latent_format)
    variant = replace(variant, size=LATENT)
    graph = variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))
    return Case(vae, vae.load(), graph, graph.low_res(capture_rows=0)[1])


def test_pixels_are_enlarged_and_frames_kept(case):
    from s2flow_core.latent.resample import resize_video
    from s2flow_core.transition.upsample import clean_estimate

    vae, trajectory = case.vae, case.trajectory
    _, down, right = vae.compression
    frames = case.loaded.decode(clean_estimate(trajectory, T_I))[0]
    assert tuple(frames.shape) == (vae.frames(LATENT[0]), LATENT[1] * down, LATENT[2] * right, 3)
    expected = case.loaded.encode(resize_video(frames, (2 * frames.shape[1], 2 * frames.shape[2])))

    latent, _, noise = case.graph.upsample(trajectory, vae=case.loaded)
    assert tuple(latent["samples"].shape) == (1, vae.channels, LATENT[0], 2 * LATENT[1], 2 * LATENT[2])
    assert torch.allclose(latent["samples"], expected, atol=1e-4)
    assert noise.generate_noise(latent).shape == latent["samples"].shape


def test_a_size_in_pixels_is_counted_by_the_vae(case):
    _, down, right = case.vae.compression
    wide = 6 + case.trajectory.patch[2]  # one patch off a square, which the small video is
    latent, *_ = case.graph.upsample(case.trajectory, vae=case.loaded, width=wide * right, height=6 * down)
    assert tuple(latent["samples"].shape[2:]) == (LATENT[0], 6, wide)


def test_what_exceeds_the_memory_runs_in_tiles(case, comfy_modules, monkeypatch, caplog):
    room = comfy_modules.pack("nodes.host.size.video_pixels")
    # The small video is 4 cells wide and the large one 6: both are cut.
    monkeypatch.setattr(room, "TILES", tuple(cells * case.vae.compression[1] for cells in (4, 2)))
    for direction in ("decode", "encode"):
        monkeypatch.setattr(case.loaded, f"memory_used_{direction}", lambda shape, dtype: 1e18)
    with caplog.at_level("INFO"):
        latent, *_ = case.graph.upsample(case.trajectory, vae=case.loaded, scale=1.5)
    assert "decoding in tiles" in caplog.text and "encoding in tiles" in caplog.text
    assert tuple(latent["samples"].shape[2:]) == (LATENT[0], 6, 6)
    assert torch.isfinite(latent["samples"]).all()
