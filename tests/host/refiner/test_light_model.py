"""Windows, LoRA and recomputed blocks change no more of the model than they should."""

from __future__ import annotations

import torch
from tiny_refiner import TINY
from torch.nn import Linear

from training.gradients import core_with_gradients
from training.refiner import video_training
from training.refiner.__main__ import parse_arguments
from training.refiner.light_model import LoraLinear, add_lora, checkpoint_blocks, new_refiner
from training.refiner.windowed_blocks import window_blocks


def test_only_what_learns_is_in_float32(base, tmp_path):
    """A frozen base in float32 would take twice the memory of the model itself."""

    def light(*options: object) -> video_training.LightModel:
        given = ("--videos", base.parent, "--out", "x.safetensors", "--vae", base, "--model", base, *options)
        return video_training.light_model(
            parse_arguments([str(part) for part in (*given, "--device", "cpu")])
        )

    lora = light("--lora", 2)
    learning = {value.dtype for value in lora.model.parameters() if value.requires_grad}
    frozen = {value.dtype for value in lora.model.parameters() if not value.requires_grad}
    assert (learning, frozen) == ({torch.float32}, {torch.bfloat16})
    exact = light("--lora", 2, "--full-precision")
    assert {value.dtype for value in exact.model.parameters()} == {torch.float32}
    assert {value.dtype for value in light().model.parameters()} == {torch.float32}


def test_windows_and_checkpointing_do_not_change_what_they_should_not(comfy_modules):
    """A window over all frames and recomputed blocks give the gradients of the plain model."""

    def gradients(prepare) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = new_refiner(**TINY)
        torch.nn.init.normal_(model.head.head.weight, std=0.1)
        prepare(model)
        state = torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(2))
        with core_with_gradients():
            model(state, torch.tensor([500.0]), torch.zeros(1, 1, 4096)).square().sum().backward()
        return [value.grad for value in model.blocks.parameters()]

    def both(frames: int):
        def prepare(model):
            window_blocks(model, frames)
            checkpoint_blocks(model)

        return prepare

    plain = gradients(lambda model: None)
    for one, other in zip(plain, gradients(both(4)), strict=True):
        torch.testing.assert_close(one, other)
    windowed, recomputed = gradients(lambda model: window_blocks(model, 2)), gradients(both(2))
    assert any(not torch.allclose(one, other) for one, other in zip(plain, windowed, strict=True))
    for one, other in zip(windowed, recomputed, strict=True):
        torch.testing.assert_close(one, other)


def test_lora_starts_as_the_model_it_is_added_to(comfy_modules):
    torch.manual_seed(0)
    model = new_refiner(**TINY)
    torch.nn.init.normal_(model.head.head.weight, std=0.1)
    inputs = (torch.randn(1, 16, 2, 4, 4), torch.tensor([300.0]), torch.zeros(1, 1, 4096))
    before = model(*inputs)
    layers = add_lora(model, rank=2)
    torch.testing.assert_close(model(*inputs), before)
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    assert len(trainable) == 2 * len(layers)
    assert all("lora_" in name for name in trainable)


def test_an_8_bit_layer_cannot_be_computed_without_its_factors():
    """ComfyUI's 8-bit kernels look for a weight of their own kind, and know nothing of factors beside it."""

    class Packed:
        _qdata = torch.ones(3, 4, dtype=torch.int8)

        def dequantize(self) -> torch.Tensor:
            return 0.5 * self._qdata.float()

    layer = Linear(4, 3)
    added = LoraLinear(layer, rank=2)
    assert added.weight is layer.weight and added.bias is layer.bias
    del layer.weight
    vars(layer)["weight"] = Packed()
    assert torch.equal(added.weight, torch.full((3, 4), 0.5))
