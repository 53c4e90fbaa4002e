"""How many tensors of a layer's width are alive at once, counted in ComfyUI's own blocks on empty tensors.

Attention is left to an override that allocates its output alone, as windows and flash attention do.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.common.live_memory import LiveMemory
from benchmarks.pipeline.models import MODELS, ModelShape
from s2flow_core.feed_forward import cut_forward

CHUNKS = 16
CELLS = (8, 64, 96)  # (T, H, W) of a latent; enough that text and modulations no longer count
LAYERS = 2  # of each kind: the first has no tensors of a layer before it
SMALLER = 8  # times, where numbers are really computed
HALF: dict[str, Any] = {"dtype": torch.bfloat16}


def live_widths(name: str, chunks: int = 1) -> float:
    """Widths alive at the peak of a pass of one video, for a model of MODELS.

    chunks: pieces of the feed-forward layers. `import_comfy` must have run. Raises ImportError where this
    ComfyUI does not know the model.
    """
    shape = MODELS[name]
    # MiniMax H3 reads numbers from its sigma, which empty tensors have not; it runs at the same proportions.
    empty = nullcontext() if name == "minimax_h3" else FakeTensorMode(allow_non_fake_inputs=True)
    with empty, torch.inference_mode():
        model, given, feed_forward = BUILDERS[name](shape)
        if chunks > 1:
            for layer in feed_forward:
                layer.forward = cut_forward(layer.forward, chunks)
        options = {"optimized_attention_override": output_alone}
        with LiveMemory() as memory:
            model(*given, transformer_options=options)
    width = shape.width // (SMALLER if name == "minimax_h3" else 1)
    return memory.peak / (2 * math.prod(CELLS) // math.prod(shape.patch) * width)


def output_alone(
    function: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, *more: Any, **named: Any
) -> Tensor:
    """Allocates what attention gives, in ComfyUI's layouts."""
    if not named.get("skip_reshape"):
        return torch.empty_like(q)  # (B, tokens, heads * dim)
    if named.get("skip_output_reshape"):
        return torch.empty_like(q)  # (B, heads, tokens, dim)
    batch, tokens, dim = q.shape[0], q.shape[2], q.shape[3]
    return q.new_empty(batch, tokens, heads * dim)


def latent(channels: int) -> Tensor:
    """(1, channels, T, H, W)"""
    return torch.empty(1, channels, *CELLS, **HALF)


def text(tokens: int, width: int) -> Tensor:
    return torch.empty(1, tokens, width, **HALF)


def made(kind: type[nn.Module], **settings: Any) -> Any:
    import comfy.ops

    model = kind(**settings, operations=comfy.ops.disable_weight_init, device="cpu", **HALF)
    return model.requires_grad_(False)


def wan(shape: ModelShape) -> tuple[Any, tuple, list[Any]]:
    from comfy.ldm.wan.model import WanModel

    hidden = (shape.token_weights - 6 * shape.width**2) // (2 * shape.width)
    model = made(
        WanModel,
        model_type="t2v",
        dim=shape.width,
        ffn_dim=hidden,
        num_heads=shape.heads,
        num_layers=LAYERS,
        in_dim=shape.channels,
        out_dim=shape.channels,
    )
    given = (latent(shape.channels), torch.empty(1), text(shape.text_tokens, 4096))
    return model, given, [block.ffn for block in model.blocks]


def hunyuan(shape: ModelShape) -> tuple[Any, tuple, list[Any]]:
    from comfy.ldm.hunyuan_video.model import HunyuanVideo, HunyuanVideoParams

    with_single_blocks = shape.name == "HunyuanVideo 13B"
    settings = {
        "in_channels": shape.channels,
        "out_channels": shape.channels,
        "vec_in_dim": 768,
        "context_in_dim": 4096,
        "hidden_size": shape.width,
        "mlp_ratio": 4.0,
        "num_heads": shape.heads,
        "depth": LAYERS,
        "depth_single_blocks": LAYERS if with_single_blocks else 0,
        "axes_dim": [16, 56, 56],
        "theta": 256,
        "patch_size": list(shape.patch),
        "qkv_bias": True,
        "guidance_embed": False,
        "byt5": False,
        "meanflow": False,
        "meanflow_sum": False,
        "use_cond_type_embedding": False,
        "vision_in_dim": None,
    }
    known = inspect.signature(HunyuanVideoParams).parameters
    chosen = {name: value for name, value in settings.items() if name in known}
    model = made(HunyuanVideo, image_model="hunyuan_video", **chosen)
    given = (
        latent(shape.channels),
        torch.empty(1),
        text(shape.text_tokens, 4096),
        torch.empty(1, 768, **HALF),
    )
    return model, given, [block.img_mlp for block in model.double_blocks]


def ltx(shape: ModelShape) -> tuple[Any, tuple, list[Any]]:
    from comfy.ldm.lightricks.model import LTXVModel

    model = made(LTXVModel, num_layers=LAYERS)
    given = (latent(shape.channels), torch.empty(1), text(shape.text_tokens, 4096), None)
    return model, given, [block.ff for block in model.transformer_blocks]


def minimax(shape: ModelShape) -> tuple[Any, tuple, list[Any]]:
    from comfy.ldm.minimax.model import MiniMaxH3Model

    model = made(
        MiniMaxH3Model,
        hidden_size=shape.width // SMALLER,
        num_attention_heads=shape.heads // SMALLER,
        ffn_hidden_size=(shape.token_weights - 4 * shape.width * shape.inner) // (3 * shape.width) // SMALLER,
        num_layers=LAYERS,
        token_refiner_num_layers=1,
        time_embed_hidden_size=8,
        time_embed_dim=8,
    )
    given = ([latent(shape.channels), torch.zeros(1, 32, 2, 8, **HALF)], torch.ones(1), text(8, 5120))
    return model, given, [block.mlp for block in model.blocks]


BUILDERS: dict[str, Callable[[ModelShape], tuple[Any, tuple, list[Any]]]] = {
    "hunyuan_video": hunyuan,
    "hunyuan_video_15": hunyuan,
    "wan_14b": wan,
    "wan_1.3b": wan,
    "wan22_5b": wan,
    "ltx_video": ltx,
    "minimax_h3": minimax,
}
