"""What capture and windows cost in memory, counted tensor by tensor on a case large enough to tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hunyuan import hunyuan_weights, masked_text, published
from tiny_hunyuan import variant as hunyuan_variant
from tiny_variant import Variant, variant_graph
from tiny_wan_variants import PATCH, wan_weights

from benchmarks.common.live_memory import LiveMemory

MOST_EXTRA = 0.05
# Where a block of HunyuanVideo is wrapped, by whatever pack, ComfyUI keeps the video of the last double block
# while the first single block runs: one tensor of the 16 that this small model holds at most, weights apart.
MOST_EXTRA_BESIDE_TEXT = 0.08
SETTINGS: dict[str, Any] = {"dim": 512, "ffn_dim": 1536, "num_heads": 4, "num_layers": 2}
MODEL = Variant(
    "wan_mid",
    weights=lambda: wan_weights(**SETTINGS),
    family="wan",
    layers=2,
    heads=4,
    latent_format="Wan21",
    patch=PATCH,
    size=(5, 24, 24),
)
# HunyuanVideo's text joins the video in one attention, and its padding is masked.
JOINT = hunyuan_variant(
    "hunyuan_mid",
    weights=lambda: published(hunyuan_weights(hidden_size=512, num_heads=4, depth_single_blocks=1)),
    layers=2,
    heads=4,
    conditions=masked_text,
    guidance=1.0,
    size=(5, 24, 24),
)
TWO_STEPS = torch.tensor([1.0, 0.5, 0.0])


def flash(original, q, k, v, heads, mask=None, *_, skip_reshape=False, **__):
    """An attention without a score matrix, as people have it on their GPUs; core's on the CPU has one."""
    if not skip_reshape:
        batch, _, width = q.shape
        q, k, v = (x.view(batch, -1, heads, width // heads).transpose(1, 2) for x in (q, k, v))
    mask = mask[:, None] if mask is not None and mask.ndim == 3 else mask  # (B, 1, queries or 1, keys)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    return out.transpose(1, 2).flatten(2)


@pytest.fixture(scope="module", params=[MODEL, JOINT], ids=str)
def graph(request, comfy_modules, tmp_path_factory):
    variant = request.param
    model = variant.load(tmp_path_factory.mktemp("checkpoint")).clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = flash
    return variant_graph(comfy_modules, variant, model)


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res(sigmas=TWO_STEPS)
    return trajectory, graph.upsample(trajectory, t_i=1)


def counted(run) -> LiveMemory:
    with LiveMemory() as memory:
        run()
    return memory


def test_the_counter_counts():
    with LiveMemory() as memory:
        first = torch.zeros(1000)
        second = first.view(10, 100) + 1
        del first
        third = second[:5].clone()
    assert memory.peak == 4 * 2000
    assert memory.live == 4 * 1500
    assert memory.largest == 1000
    del second, third
    assert memory.live == 0


def test_windows_add_little_to_dense_attention(graph, record, monkeypatch):
    """2,880 tokens: a matrix of tokens² per head would be nearly four times the largest tensor.

    Boxes are copied to stand beside the text, a fixed amount at a time. It is here a tenth of the keys, as
    it is on a GPU with HunyuanVideo at 2560x1536x117.
    """
    boxes = graph.modules.pack("s2flow_core.attention.backends.torch_boxes")
    keys_of_a_layer = 5 * 24 * 24 * 512
    monkeypatch.setitem(boxes._MOST_KEY_ELEMENTS, "cpu", keys_of_a_layer // 10)
    trajectory, triple = record
    dense = counted(lambda: graph.high_res(triple))
    for s in (0.25, 0.75):
        windows = graph.windows(trajectory, triple[0], s=s)
        windowed = counted(lambda w=windows: graph.high_res(triple, windows=w, backend="torch_boxes"))
        most = MOST_EXTRA_BESIDE_TEXT if graph.variant is JOINT else MOST_EXTRA
        assert windowed.peak <= (1 + most) * dense.peak
        assert windowed.largest == dense.largest


def test_capture_adds_little_to_the_plain_run(graph, monkeypatch):
    # The smallest piece, 8 MB, is nothing beside a real run and a quarter of this one.
    monkeypatch.setattr(graph.modules.pack("s2flow_core.reach.measure"), "LEAST_LOGITS", 2**16)
    plain = counted(lambda: graph.low_res(sigmas=TWO_STEPS, capture_rows=0))
    joint = graph.variant is JOINT
    for with_error in (False, True):
        # 16 of 720 tokens are ten times the share that 256 rows are of a video of 1280x768x117.
        given = {"sigmas": TWO_STEPS, "capture_error": with_error, "capture_rows": 16 if joint else 256}
        captured = counted(lambda g=given: graph.low_res(**g))
        assert captured.peak <= (1 + (MOST_EXTRA_BESIDE_TEXT if joint else MOST_EXTRA)) * plain.peak
        assert captured.largest == plain.largest


def test_the_record_is_kept_in_half_precision_in_main_memory(record):
    trajectory = record[0]
    for values in (trajectory.denoised, trajectory.noise, trajectory.reach.mass):
        assert values.dtype == torch.float16
        assert values.device.type == "cpu"
