"""The demo's Refiner is trained into the file that was asked for."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny_refiner import TINY

from training.refiner.__main__ import main
from training.refiner.data.pair_cache import PairCache
from training.refiner.demo import training as demo_training
from training.refiner.light_model import new_refiner


@pytest.mark.parametrize("frames", [0, 2])
def test_the_demo_trains_with_and_without_windows(comfy_modules, tmp_path, monkeypatch, frames):
    """Its own file and its work stay what they are when another file is asked for."""
    windowed = []
    latent = torch.randn(16, 3, 24, 24, generator=torch.Generator().manual_seed(0))

    def one_pair(cache: PairCache, device: str) -> list[str]:
        from training.refiner.data.pair_cache import Pair

        cache.add("00000", Pair(latent, 0.5 * latent, torch.zeros(4, 4096)))
        return ["00000"]

    monkeypatch.setattr(demo_training, "encode_demo_pairs", one_pair)
    monkeypatch.setattr(demo_training, "WORK", tmp_path / "work")
    monkeypatch.setattr(demo_training, "REFINER_FILE", tmp_path / "shipped.safetensors")
    monkeypatch.setattr(demo_training, "new_refiner", partial(new_refiner, **TINY))
    monkeypatch.setattr(demo_training, "window_blocks", lambda model, count: windowed.append(count))
    out = tmp_path / "mine.safetensors"
    main(["--demo", "--steps", "1", "--window", str(frames), "--out", str(out)])
    assert windowed == [2] * (frames > 0)
    assert out.is_file() and not (tmp_path / "shipped.safetensors").exists()
    with pytest.raises(SystemExit, match=f"--window: {frames} then, 3 now"):
        main(["--demo", "--steps", "1", "--window", "3", "--out", str(out)])
