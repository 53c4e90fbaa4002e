"""HunyuanVideo's joint attention: windows limit how the video sees the video, and nothing else."""

from __future__ import annotations

import naive_attention
import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_variant import variant_graph

CHOSEN = ("hunyuan_t2v", "hunyuan_t2v_masked", "hunyuan_i2v_reference", "hunyuan15")
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=[v for v in HUNYUAN_VARIANTS if v.name in CHOSEN], ids=str)
def windowed_calls(request, comfy_modules, tmp_path_factory):
    """Every windowed call of one HR run with its result, and the plan that it followed."""
    variant = request.param
    graph = variant_graph(comfy_modules, variant, variant.load(tmp_path_factory.mktemp("checkpoint")))
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.4)
    calls = []
    hook = comfy_modules.pack("nodes.host.attention.windows").WindowedAttention
    attend = hook.attend

    def kept(self, call):
        out = attend(self, call)
        calls.append((call, out))
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hook, "attend", kept)
        graph.high_res(triple, windows=windows, backend="torch_boxes")
    return windows, calls


def key_bias(call):
    """(B, tokens) from the mask (1, 1, tokens) that HunyuanVideo passes."""
    return None if call.mask is None else call.mask.reshape(1, -1).expand(call.q.shape[0], -1)


def test_every_call_is_attention_under_the_mask_of_its_windows(windowed_calls):
    windows, calls = windowed_calls
    grid = windows.grid
    assert windows.density < 1
    for call, out in calls[:4] + calls[-4:]:
        extents = windows.extents_at(windows.step_at(call.sigma), call.layer).tolist()
        boxes = naive_attention.Boxes(grid.shape, grid.tile, extents, windows.tail)
        text = (call.layout.prefix, key_bias(call))
        expected = naive_attention.attention(call.q, call.k, call.v, boxes, *text)
        assert (out - expected).abs().max() < TOLERANCE * expected.abs().max() + TOLERANCE


def test_text_queries_are_what_dense_attention_gives(windowed_calls):
    windows, calls = windowed_calls
    for call, out in calls[:4] + calls[-4:]:
        first = call.layout.prefix
        video = slice(first, first + windows.grid.tokens)
        bias = key_bias(call)
        dense = torch.nn.functional.scaled_dot_product_attention(
            call.q, call.k, call.v, None if bias is None else bias[:, None, None]
        )
        changed = (out - dense).abs().amax(dim=(0, 1, 3))  # (tokens,)
        assert changed[video].max() > 100 * TOLERANCE
        changed[video] = 0
        assert changed.max() < TOLERANCE


def test_the_layers_of_a_pass_ask_for_their_mask_once(windowed_calls):
    """All of them see one tensor; the next pass, which may bring another, asks anew."""
    _, calls = windowed_calls
    passes = {id(call.masks): [] for call, _ in calls}
    for call, _ in calls:
        passes[id(call.masks)].append(call)
    assert len(passes) > 1
    for layers in passes.values():
        assert len({call.layer for call in layers}) == len(layers) > 1
        assert len({id(call.mask) for call in layers}) == 1
