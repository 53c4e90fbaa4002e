"""When memory runs out in VAE work it goes on in tiles, says what that costs, or names a size that fits."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tiny_vae import loaded_vae
from torch import Tensor

SIDE = 64  # pixels
TILES = (32, 16)


@pytest.fixture(autouse=True)
def inference():
    """As ComfyUI runs a prompt."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def vae(comfy_modules):
    return loaded_vae("wan21")


@pytest.fixture
def room(comfy_modules, monkeypatch):
    module = comfy_modules.pack("nodes.host.size.video_pixels")
    monkeypatch.setattr(module, "TILES", TILES)
    return module


@pytest.fixture(scope="module")
def latent() -> Tensor:
    return torch.randn(1, 16, 1, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))


class Network:
    """The VAE's network on a device that gives out: at the calls in `fails`, and beyond `most` pixels."""

    def __init__(self, vae: Any, monkeypatch: Any, fails: Any = (), most: int = 10**9, problem: Any = None):
        self.calls, self.fails, self.most = 0, fails, most
        self.problem = problem or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        for name, cell in (("decode", 8), ("encode", 1)):
            original = getattr(vae.first_stage_model, name)
            monkeypatch.setattr(vae.first_stage_model, name, self.watched(original, cell))

    def watched(self, original: Any, cell: int) -> Any:
        def call(x: Tensor, *given: Any, **named: Any) -> Tensor:
            self.calls += 1
            if self.calls in self.fails or x.shape[-1] * x.shape[-2] * cell**2 > self.most:
                raise self.problem
            return original(x, *given, **named)

        return call


def there_and_back(pixels: Any, latent: Tensor) -> Tensor:
    return pixels.encode(pixels.decode(latent)[0])


@pytest.fixture(scope="module")
def undisturbed(comfy_modules, vae, latent) -> Tensor:
    with torch.inference_mode():
        return there_and_back(comfy_modules.pack("nodes.host.size.video_pixels").VideoPixels(vae), latent)


@pytest.mark.parametrize("fails", [(1,), (2,), (1, 2), (1, 7), (2, 11), (1, 11, 12)], ids=str)
def test_memory_that_is_out_at_any_call_costs_tiles_and_no_result(
    room, vae, latent, undisturbed, monkeypatch, caplog, fails
):
    Network(vae, monkeypatch, fails=fails)
    with caplog.at_level("WARNING"):
        result = there_and_back(room.VideoPixels(vae), latent)
    assert result.shape == undisturbed.shape and torch.isfinite(result).all()
    said = [r.getMessage() for r in caplog.records if "S²Flow: VAE" in r.getMessage()]
    assert len(said) == len(fails)
    cost = r"ran out of memory with the whole picture; .* of 32 pixels, 9 of them, about 2\.2 times the work"
    assert re.search(cost, said[0])


def test_a_device_with_room_is_asked_for_the_whole_picture(room, vae, latent, undisturbed, monkeypatch):
    network = Network(vae, monkeypatch, fails=(3,))
    assert torch.equal(there_and_back(room.VideoPixels(vae), latent), undisturbed)
    assert network.calls == 2


@pytest.mark.parametrize(("most", "tile"), [(32 * 32, 32), (16 * 16, 16)])
def test_tiles_shrink_until_they_fit_and_stay_so_for_the_next_video(
    room, vae, latent, monkeypatch, caplog, most, tile
):
    Network(vae, monkeypatch, most=most)
    pixels = room.VideoPixels(vae)
    with caplog.at_level("WARNING"):
        results = [there_and_back(pixels, latent) for _ in range(2)]
    assert all(torch.equal(result, results[0]) for result in results)
    steps = [r.getMessage() for r in caplog.records if "S²Flow: VAE" in r.getMessage()]
    assert len(steps) == 2 * (TILES.index(tile) + 1)  # decoding and encoding, each step once
    assert pixels.tile == {"decoding": tile, "encoding": tile}


@pytest.mark.parametrize("doing", ["decode", "encode"])
@pytest.mark.parametrize("room_for", [48, 40, 16])
def test_where_nothing_fits_a_size_is_named_that_would(room, vae, latent, monkeypatch, doing, room_for):
    import comfy.model_management

    given = latent if doing == "decode" else torch.rand(1, SIDE, SIDE, 3)

    def needed(side: int) -> float:
        shape = (1, 16, 1, side // 8, side // 8) if doing == "decode" else (1, 3, 1, side, side)
        return getattr(vae, f"memory_used_{doing}")(shape, vae.vae_dtype)

    free = needed(room_for) + 1
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: free)
    Network(vae, monkeypatch, most=0)
    with pytest.raises(
        MemoryError, match=rf"VAE {doing[:-1]}ing of 64×64 pixels, in tiles of 16 .* too"
    ) as told:
        getattr(room.VideoPixels(vae), doing)(given)
    side = room_for // 16 * 16
    assert f"About {side}×{side} would fit: choose a smaller scale" in str(told.value)
    assert needed(side) <= free < needed(side + 16)


def test_where_not_even_a_small_picture_fits_frames_are_too_many(room, vae, latent, monkeypatch):
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_, **__: 1)
    Network(vae, monkeypatch, most=0)
    with pytest.raises(MemoryError, match="choose fewer frames"):
        room.VideoPixels(vae).decode(latent)


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("HIP out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ],
    ids=["cpu", "hip", "python"],
)
def test_other_devices_say_it_in_other_words(room, vae, latent, monkeypatch, problem):
    Network(vae, monkeypatch, fails=(1,), problem=problem)
    assert torch.isfinite(room.VideoPixels(vae).decode(latent)).all()


def test_another_problem_is_not_taken_for_memory(room, vae, latent, monkeypatch):
    network = Network(vae, monkeypatch, fails=(1,), problem=RuntimeError("mat1 and mat2 shapes do not fit"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        room.VideoPixels(vae).decode(latent)
    assert network.calls == 1


@pytest.mark.parametrize("tile", [1, 2, 5])
@pytest.mark.parametrize("doing", ["decode", "encode"])
def test_cancel_takes_effect_before_the_next_tile(room, vae, latent, monkeypatch, doing, tile):
    import comfy.model_management

    given = latent if doing == "decode" else torch.rand(1, SIDE, SIDE, 3)
    pixels = room.VideoPixels(vae)
    pixels.tile = {"decoding": 32, "encoding": 32}
    network = Network(vae, monkeypatch)
    original = getattr(vae.first_stage_model, doing)

    def cancelled(*x: Any) -> Tensor:
        result = original(*x)
        if network.calls == tile:
            comfy.model_management.interrupt_current_processing()
        return result

    monkeypatch.setattr(vae.first_stage_model, doing, cancelled)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        getattr(pixels, doing)(given)
    assert network.calls == tile
    monkeypatch.undo()
    assert torch.isfinite(getattr(pixels, doing)(given)).all()


def test_the_vae_of_the_graph_is_left_as_it_is(room, vae, latent):
    before = dict(vars(vae))
    there_and_back(room.VideoPixels(vae), latent)
    assert vars(vae) == before
