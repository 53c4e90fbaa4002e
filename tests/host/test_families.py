"""Every model family from end to end: LR run, upsample, windows, HR run, on checkpoints of its own kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from cut_layers import counted_pieces
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_ltx import LTX_VARIANTS
from tiny_newer_models import NEWER_VARIANTS
from tiny_variant import Variant, VariantGraph, variant_graph
from tiny_wan_variants import WAN_VARIANTS

VARIANTS = [*WAN_VARIANTS, *HUNYUAN_VARIANTS, *LTX_VARIANTS, *NEWER_VARIANTS]


@dataclass
class Case:
    """One variant's graph and LR record, made once."""

    variant: Variant
    graph: VariantGraph
    trajectory: Any
    triple: Any
    log: list[str]
    dense: Any = field(default=None)


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def case(request, comfy_modules, tmp_path_factory):
    variant = request.param
    variant.require_host()
    model = variant.load(tmp_path_factory.mktemp("checkpoint"))
    graph = variant_graph(comfy_modules, variant, model)
    with pytest.MonkeyPatch.context() as patch:
        messages: list[str] = []
        hook = comfy_modules.pack("nodes.host.attention.hook").SelfAttentionHook
        patch.setattr(hook, "fall_back", lambda self, reason: messages.append(reason))
        _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    return Case(variant, graph, trajectory, triple, messages, graph.high_res(triple))


def test_it_is_recognised_as_what_it_is(case):
    variant, patcher = case.variant, case.graph.guider.model_patcher
    model = patcher.model.diffusion_model
    assert type(model).__name__ == (variant.model_class or "WanModel")
    identity = case.trajectory.model
    assert (identity.family, identity.layers, identity.heads) == (
        variant.family,
        variant.layers,
        variant.heads,
    )
    assert (identity.channels, identity.latent_format) == (variant.channels, variant.latent_format)


def test_every_layer_and_step_is_measured(case):
    variant, reach = case.variant, case.trajectory.reach
    assert case.log == []
    assert tuple(reach.mass.shape[:3]) == (case.trajectory.steps, variant.layers, variant.heads)
    assert torch.allclose(reach.mass[..., -1, -1, -1].float(), torch.ones(()), atol=1e-3)
    sizes = zip(variant.size, variant.patch, strict=True)
    assert case.trajectory.token_shape == tuple(length // side for length, side in sizes)


@dataclass
class AttentionCounts:
    """What reached ComfyUI's attention below us and what windows answered, per number of tokens."""

    windowed: list[tuple[int, int]] = field(default_factory=list)  # (layer, tokens)
    below: Counter = field(default_factory=Counter)  # (query tokens, key tokens)


def counted_run(case: Case, monkeypatch, windows: Any, **inputs: Any) -> tuple[torch.Tensor, AttentionCounts]:
    """An HR run whose attention calls are counted where they end."""
    counts = AttentionCounts()
    hooks = case.graph.modules.pack("nodes.host.attention.windows")
    attend = hooks.WindowedAttention.attend

    def counted(self, call):
        out = attend(self, call)
        if out is not None:
            counts.windowed.append((call.layer, call.q.shape[2]))
        return out

    def below(original, q, k, *rest, **named):
        tokens = 2 if named.get("skip_reshape") else 1
        counts.below[q.shape[tokens], k.shape[tokens]] += 1
        return original(q, k, *rest, **named)

    monkeypatch.setattr(hooks.WindowedAttention, "attend", counted)
    guider = case.graph.large_guider
    kept = guider.model_options
    guider.model_options = kept | {"transformer_options": {"optimized_attention_override": below}}
    try:
        result = case.graph.high_res(case.triple, windows=windows, **inputs)
    finally:
        guider.model_options = kept
    return result, counts


def test_windows_answer_every_self_attention_and_no_other(case, monkeypatch, caplog):
    variant = case.variant
    windows = case.graph.windows(case.trajectory, case.triple[0], s=0.5)
    with caplog.at_level("WARNING"):
        result, counts = counted_run(case, monkeypatch, windows, backend="torch_boxes")
    assert not [record for record in caplog.records if "leaves attention unchanged" in record.message]
    assert torch.isfinite(result).all()
    assert (result - case.dense).abs().max() > 1e-3 * case.dense.abs().max()

    total = variant.tokens(variant.large)
    steps = len(case.triple[1]) - 1
    per_layer = Counter(layer for layer, _ in counts.windowed)
    assert set(per_layer) == set(range(variant.layers))
    passes = per_layer[0]
    assert passes in (steps, 2 * steps)
    assert set(per_layer.values()) == {passes}
    assert {tokens for _, tokens in counts.windowed} == {total}
    # All that is left to ComfyUI is cross-attention, or the text's own attention before the blocks.
    assert (total, total) not in counts.below


def test_whole_windows_equal_the_graph_without_them(case):
    windows = case.graph.windows(case.trajectory, case.triple[0], s=1.0)
    for backend in ("auto", "torch_boxes"):
        windowed = case.graph.high_res(case.triple, windows=windows, backend=backend)
        assert torch.allclose(windowed, case.dense, atol=1e-4 * float(case.dense.abs().max()))


def test_feed_forward_layers_run_in_pieces(case):
    """Of all blocks but the single ones of HunyuanVideo 1.0."""
    model = case.graph.guider.model_patcher.model.diffusion_model
    family = case.graph.modules.pack("nodes.host.families").family_of(model)
    layers = [model.get_submodule(path) for path in family.feed_forward_paths(model)]
    assert len(layers) == case.variant.layers - len(getattr(model, "single_blocks", ()))
    with counted_pieces(layers) as pieces:
        result = case.graph.high_res(case.triple, feed_forward_chunks=3)
    steps = len(case.triple[1]) - 1
    assert pieces.total() in (3 * len(layers) * steps, 6 * len(layers) * steps)
    assert torch.allclose(result, case.dense, atol=1e-5 * float(case.dense.abs().max()))


def test_a_size_in_pixels_is_that_of_the_models_vae(case):
    """Wan 2.2 5B and HunyuanVideo 1.5 have 16 pixels per cell, LTX-Video 32, the others 8."""
    side = {"Wan22": 16, "HunyuanVideo15": 16, "LTXV": 32}.get(case.variant.latent_format, 8)
    _, height, width = case.variant.large
    latent, _, _ = case.graph.upsample(case.trajectory, width=side * width, height=side * height)
    assert tuple(latent["samples"].shape[2:]) == case.variant.large


def test_the_solver_follows_its_record(case):
    result = case.graph.high_res(case.triple, trajectory=case.trajectory, order=2, derivative="low_res")
    assert torch.isfinite(result).all()
    assert not torch.equal(result, case.dense)


def test_the_face_of_animate_stays_outside_the_windows(comfy_modules, tmp_path):
    """Between the blocks, the video's tokens look at the face's motion, which is no self-attention."""
    variant = next(variant for variant in VARIANTS if variant.name == "wan22_animate")
    face = {"face_video_pixels": torch.rand(1, 3, 1, 512, 512, generator=torch.Generator().manual_seed(4))}
    with_face = replace(variant, conditions=lambda size: variant.conditions(size) | face, guidance=1.0)
    graph = variant_graph(comfy_modules, with_face, variant.load(tmp_path))
    sigmas = torch.tensor([1.0, 0.0])
    _, trajectory = graph.low_res(sigmas=sigmas)
    triple = graph.upsample(trajectory, t_i=1)
    whole = graph.windows(trajectory, triple[0], s=1.0)
    dense = graph.high_res(triple)
    windowed = graph.high_res(triple, windows=whole, backend="torch_boxes")
    assert torch.allclose(windowed, dense, atol=1e-4 * float(dense.abs().max()))
    faceless = variant.guider(graph.large_guider.model_patcher, variant.large, guidance=1.0)
    assert (dense - graph.high_res(triple, guider=faceless)).abs().max() > 1e-3 * dense.abs().max()
    half = graph.windows(trajectory, triple[0], s=0.5)
    counts = {}
    hook = comfy_modules.pack("nodes.host.attention.windows").WindowedAttention
    attend = hook.attend

    def counted(self, call):
        counts[call.layer] = counts.get(call.layer, 0) + 1
        return attend(self, call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hook, "attend", counted)
        assert torch.isfinite(graph.high_res(triple, windows=half, backend="torch_boxes")).all()
    assert counts == dict.fromkeys(range(variant.layers), 1)
