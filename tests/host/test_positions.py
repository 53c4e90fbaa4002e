"""Rotary positions and attention temperature at the larger size."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS
from tiny_ltx import LTX_VARIANTS
from tiny_variant import variant_graph
from tiny_wan import wan_graph
from tiny_wan_variants import WAN_VARIANTS

ADAPTED = [v for v in (*WAN_VARIANTS, *HUNYUAN_VARIANTS) if v.name in ("wan21_vace", "hunyuan_i2v_reference")]


@pytest.fixture(scope="module")
def record(graph):
    _, trajectory = graph.low_res()
    return trajectory, graph.upsample(trajectory)


def test_position_scaling_is_what_cores_scale_rope_node_does(graph, record):
    trajectory, triple = record
    factor = (4 - 1) / (8 - 1)
    node = graph.modules.node("ScaleROPE")
    model = node.execute(graph.guider.model_patcher, factor, 0.0, factor, 0.0, 1.0, 0.0).args[0]
    expected = graph.high_res(triple, guider=wan_graph(graph.modules, model=model).guider)
    result = graph.high_res(triple, trajectory=trajectory, rope="position")
    assert torch.allclose(result, expected, atol=1e-3)
    assert not torch.allclose(result, graph.high_res(triple), atol=1e-2)


def angles(rotations: torch.Tensor) -> torch.Tensor:
    """(..., 2, 2) rotation matrices -> their angles."""
    return torch.atan2(rotations[..., 1, 0], rotations[..., 0, 0])


def test_ntk_keeps_the_fastest_rotation_and_slows_the_slowest_by_the_enlargement(graph):
    """By definition: pair i at position p turns by p·theta^(-2i/d), with theta·r^(d/(d-2)) at the larger
    size."""
    module = graph.modules.pack("nodes.host.attention.positions")
    embedder = graph.guider.model_patcher.model.diffusion_model.rope_embedder
    change = module.SizeChange((3, 4, 4), (3, 8, 12), "ntk")
    ids = torch.tensor([[[2.0, 3.0, 1.0]]])
    result = angles(change.scaled(embedder)(ids)).flatten()
    expected = []
    for axis, ratio in enumerate((1.0, 2.0, 3.0)):
        d = embedder.axes_dim[axis]
        theta = embedder.theta * ratio ** (d / (d - 2))
        expected += [float(ids[0, 0, axis]) * theta ** (-2 * i / d) for i in range(d // 2)]
        slowest = embedder.theta ** (-(d - 2) / d)
        assert theta ** (-(d - 2) / d) == pytest.approx(slowest / ratio)
    wrapped = torch.tensor([math.atan2(math.sin(a), math.cos(a)) for a in expected])
    assert torch.allclose(result, wrapped, atol=1e-5)


@pytest.mark.parametrize("rope", ["position", "ntk"])
@pytest.mark.parametrize("variant", ADAPTED, ids=str)
def test_every_layer_and_extra_token_follows_and_nothing_stays(comfy_modules, tmp_path, variant, rope):
    model = variant.load(tmp_path)
    graph = variant_graph(comfy_modules, variant, model)
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    plain = graph.high_res(triple)
    network = model.model.diffusion_model
    name = comfy_modules.pack("nodes.host.families").family_of(network).rotary
    embedder, attributes = getattr(network, name), sorted(vars(network))
    result = graph.high_res(triple, trajectory=trajectory, rope=rope)
    assert getattr(network, name) is embedder
    assert sorted(vars(network)) == attributes
    assert torch.isfinite(result).all()
    assert not torch.allclose(result, plain, atol=1e-3)
    assert torch.equal(graph.high_res(triple), plain)


@pytest.mark.parametrize("rope", ["position", "ntk"])
@pytest.mark.parametrize("ending", ["error", "cancel"])
def test_the_embedding_comes_back_after_any_ending(graph, record, monkeypatch, ending, rope):
    """Both come from the middle of a forward pass."""
    import comfy.model_management

    network = graph.guider.model_patcher.model.diffusion_model
    embedder = network.rope_embedder
    kinds = {"error": RuntimeError, "cancel": comfy.model_management.InterruptProcessingException}
    swapped = []

    def broken(*_, **__):
        swapped.append(network.rope_embedder is not embedder)
        raise kinds[ending]("in the middle")

    monkeypatch.setattr(network, "unpatchify", broken)
    with pytest.raises(kinds[ending]):
        graph.high_res(record[1], trajectory=record[0], rope=rope)
    assert swapped == [True]
    assert network.rope_embedder is embedder


def test_the_embedding_is_another_only_within_a_pass(graph, record, monkeypatch):
    """Between two passes, where previews and other nodes' callbacks run, the model is what it was."""
    import latent_preview

    network = graph.guider.model_patcher.model.diffusion_model
    embedder, between = network.rope_embedder, []

    def prepare(*_, **__):
        return lambda *_: between.append(network.rope_embedder is embedder)

    monkeypatch.setattr(latent_preview, "prepare_callback", prepare)
    graph.high_res(record[1], trajectory=record[0], rope="ntk")
    assert between == [True] * (len(record[1][1]) - 1)


def test_an_unknown_family_is_told_what_to_leave_out(graph, record, monkeypatch):
    """Even where a mode was asked for by name and nothing but positions is to change."""
    for room in ("nodes.host.attention.for_high_res", "nodes.host.model.checks"):
        monkeypatch.setattr(graph.modules.pack(room), "family_of", lambda model: None)
    trajectory = dataclasses.replace(
        record[0], model=graph.modules.pack("nodes.host.model.checks").identity_of(graph.guider.model_patcher)
    )
    with pytest.raises(
        ValueError, match="or set rope to none, attention_temperature to off and feed_forward_chunks to 1"
    ):
        graph.high_res(record[1], trajectory=trajectory, rope="position")


def test_temperature_sharpens_the_videos_own_attention_alone(graph, record):
    """Against a stand-in that multiplies q of every self-attention by sqrt(ln N / ln n)."""
    trajectory, triple = record
    low, high = 3 * 4 * 4, 3 * 8 * 8
    factor = math.sqrt(math.log(high) / math.log(low))

    def sharpened(original, q, k, v, *rest, **named):
        return original(q * factor if q.shape == k.shape else q, k, v, *rest, **named)

    neighbour = graph.guider.model_patcher.clone()
    neighbour.model_options["transformer_options"]["optimized_attention_override"] = sharpened
    expected = graph.high_res(triple, guider=wan_graph(graph.modules, model=neighbour).guider)
    result = graph.high_res(triple, trajectory=trajectory, attention_temperature=True)
    assert torch.allclose(result, expected, atol=1e-4)
    windows = graph.windows(trajectory, triple[0], s=1.0)
    given = {"trajectory": trajectory, "attention_temperature": True, "windows": windows}
    windowed = graph.high_res(triple, backend="torch_boxes", **given)
    assert torch.allclose(windowed, expected, atol=1e-3)
    assert not torch.allclose(result, graph.high_res(triple), atol=1e-3)


def test_windows_count_as_the_keys_they_leave(graph, record):
    size = graph.modules.pack("nodes.host.attention.positions").SizeChange
    whole = size((3, 4, 4), (3, 8, 8), temperature=True).logit_factor
    half = size((3, 4, 4), (3, 8, 8), temperature=True, density=0.5).logit_factor
    quarter = size((3, 4, 4), (3, 8, 8), temperature=True, density=0.2).logit_factor
    assert whole > half > quarter == 1.0


def test_what_cannot_be_adapted_is_said_before_sampling(comfy_modules, graph, record, tmp_path):
    with pytest.raises(ValueError, match="need its trajectory"):
        graph.high_res(record[1], rope="ntk")
    variant = LTX_VARIANTS[0]
    ltx = variant_graph(comfy_modules, variant, variant.load(tmp_path))
    _, trajectory = ltx.low_res()
    with pytest.raises(ValueError, match="ltx_video does not number its tokens"):
        ltx.high_res(ltx.upsample(trajectory), trajectory=trajectory, rope="position")


def test_auto_leaves_positions_as_they_are(graph, record):
    trajectory, triple = record
    plain, squeezed, auto = (
        graph.high_res(triple, trajectory=trajectory, rope=rope) for rope in ("none", "position", "auto")
    )
    assert torch.equal(auto, plain) and not torch.equal(auto, squeezed)


def test_auto_leaves_a_model_alone_whose_positions_cannot_be_scaled(comfy_modules, graph, tmp_path):
    variant = LTX_VARIANTS[0]
    ltx = variant_graph(comfy_modules, variant, variant.load(tmp_path))
    _, trajectory = ltx.low_res()
    triple = ltx.upsample(trajectory)
    given = {"trajectory": trajectory}
    assert torch.equal(ltx.high_res(triple, rope="auto", **given), ltx.high_res(triple, **given))


def test_positions_need_no_attention_that_can_be_reached(graph, record, monkeypatch):
    """Fused attention keeps its positions in the model's hands too, so only the windows are impossible."""
    trajectory, triple = record
    expected = graph.high_res(triple, trajectory=trajectory, rope="position")
    facts = graph.modules.pack("nodes.host.model.checks")

    def closed(*_):
        raise ValueError("closed")

    monkeypatch.setattr(facts, "require_open_attention", closed)
    assert torch.equal(graph.high_res(triple, trajectory=trajectory, rope="position"), expected)
    with pytest.raises(ValueError, match="closed"):
        graph.high_res(triple, trajectory=trajectory, attention_temperature=True)
