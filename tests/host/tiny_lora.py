"""A LoRA for a tiny model, as a file in ComfyUI's key layout, and the model as Load LoRA gives it."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file


def lora_file(model: Any, path: Any) -> str:
    """Of every projection of the first block's attention."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for name, weight in model.model.diffusion_model.state_dict().items():
        if name.endswith("weight") and weight.ndim == 2 and ("blocks.0." in name and "attn" in name):
            base = "diffusion_model." + name.removesuffix(".weight")
            state[f"{base}.lora_up.weight"] = 0.2 * torch.randn(weight.shape[0], 4, generator=generator)
            state[f"{base}.lora_down.weight"] = 0.2 * torch.randn(4, weight.shape[1], generator=generator)
            state[f"{base}.alpha"] = torch.tensor(4.0)
    assert state
    save_file(state, path)
    return str(path)


def with_lora(model: Any, path: Any, strength: float = 1.0) -> Any:
    """The model as Load LoRA gives it."""
    import comfy.sd
    import comfy.utils

    lora = comfy.utils.load_torch_file(lora_file(model, path))
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, strength, 0.0)
    assert patched.patches
    return patched
