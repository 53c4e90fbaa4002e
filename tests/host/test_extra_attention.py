"""Packs that call attention more often than the model does, as negative guidance in the blocks (NAG)."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS, TEXT_TOKENS
from tiny_variant import variant_graph
from tiny_wan import LAYERS, STEPS, wan_graph

STRENGTH = 0.5


def guided_cross_attention(self: Any, x: Any, context: Any, transformer_options: Any = None, **_: Any) -> Any:
    """Wan: a second cross-attention to another prompt, and the result led away from it."""
    from comfy.ldm.modules.attention import optimized_attention

    q, outputs = self.norm_q(self.q(x)), []
    for text in (context, context.flip(1) * 0.5):
        k, v = self.norm_k(self.k(text)), self.v(text)
        outputs.append(optimized_attention(q, k, v, self.num_heads, transformer_options=transformer_options))
    return self.o(outputs[0] + STRENGTH * (outputs[0] - outputs[1]))


def guided_single_block(
    cut: int, self: Any, x: Any, vec: Any, pe: Any, attn_mask: Any = None, **named: Any
) -> Any:
    """HunyuanVideo: a second joint attention in the block, with another prompt of another length."""
    run = type(self).forward
    video = x.shape[1] - TEXT_TOKENS
    other = x.clone()
    other[:, video:] *= -1
    other, turned = other[:, : x.shape[1] - cut], pe[:, :, : x.shape[1] - cut]
    first = run(self, x.clone(), vec, pe, attn_mask, **named)
    second = run(self, other, vec, turned, attn_mask, **named)
    first[:, :video] += STRENGTH * (first[:, :video] - second[:, :video])
    return first


def wan_with_guidance(modules: Any) -> Any:
    model = wan_graph(modules).guider.model_patcher.clone()
    for i in range(LAYERS):
        path = f"diffusion_model.blocks.{i}.cross_attn"
        patch = functools.partial(guided_cross_attention, model.get_model_object(path))
        model.add_object_patch(f"{path}.forward", patch)
    return wan_graph(modules, model=model)


def hunyuan_with_guidance(modules: Any, folder: Any, cut: int) -> Any:
    variant = HUNYUAN_VARIANTS[0]
    model = variant.load(folder)
    for i in range(2):
        path = f"diffusion_model.single_blocks.{i}"
        patch = functools.partial(guided_single_block, cut, model.get_model_object(path))
        model.add_object_patch(f"{path}.forward", patch)
    return variant_graph(modules, variant, model)


@pytest.fixture
def seen(comfy_modules, monkeypatch):
    """(layers windowed, layers captured), in running order."""
    windowed: list[int] = []
    captured: list[int] = []
    hook = comfy_modules.pack("nodes.host.attention.windows").WindowedAttention
    capture = comfy_modules.pack("nodes.host.attention.capture").AttentionCapture
    attend, record = hook.attend, capture.record

    def counted(self: Any, call: Any) -> Any:
        out = attend(self, call)
        if out is not None:
            windowed.append(call.layer)
        return out

    monkeypatch.setattr(hook, "attend", counted)
    monkeypatch.setattr(
        capture, "record", lambda self, call, rows: captured.append(call.layer) or record(self, call, rows)
    )
    return windowed, captured


def checked_run(graph: Any, seen: Any, caplog: Any) -> Counter:
    """Windowed calls per layer of an HR run; whole windows must equal the run without windows."""
    windowed, captured = seen
    with caplog.at_level("WARNING"):
        _, trajectory = graph.low_res()
        assert Counter(captured) == {layer: STEPS for layer in set(captured)}
        triple = graph.upsample(trajectory)
        dense = graph.high_res(triple)
        whole = graph.windows(trajectory, triple[0], s=1.0)
        equal = graph.high_res(triple, windows=whole, backend="torch_boxes")
        assert torch.allclose(equal, dense, atol=1e-3 * float(dense.abs().max()))
        windowed.clear()
        half = graph.high_res(
            triple, windows=graph.windows(trajectory, triple[0], s=0.5), backend="torch_boxes"
        )
    assert (half - dense).abs().max() > 1e-3 * dense.abs().max()
    assert not caplog.records
    return Counter(windowed)


def test_more_cross_attention_is_no_self_attention(comfy_modules, seen, caplog):
    per_layer = checked_run(wan_with_guidance(comfy_modules), seen, caplog)
    assert set(per_layer) == set(range(LAYERS))
    assert len(set(per_layer.values())) == 1


@pytest.mark.parametrize("cut", [0, 2], ids=["same length", "shorter prompt"])
def test_a_second_joint_attention_gets_the_windows_of_its_layer(comfy_modules, seen, caplog, tmp_path, cut):
    """Windowed only once, the two would differ by their windows, and the guidance would amplify that."""
    per_layer = checked_run(hunyuan_with_guidance(comfy_modules, tmp_path, cut), seen, caplog)
    once = per_layer.pop(0)
    assert per_layer == {1: 2 * once, 2: 2 * once}


def test_text_as_long_as_the_video_is_told_apart_by_its_place(comfy_modules, seen, monkeypatch, caplog):
    """Then the shapes of cross-attention are those of self-attention."""
    graph = wan_graph(comfy_modules)
    for conditions in graph.guider.original_conds.values():
        for condition in conditions:
            condition["cross_attn"] = torch.randn(1, 3 * 8 * 8, condition["cross_attn"].shape[-1])
    per_layer = checked_run(graph, seen, caplog)
    steps = 3
    assert per_layer in ({0: steps, 1: steps}, {0: 2 * steps, 1: 2 * steps})
