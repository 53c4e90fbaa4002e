"""Feed-forward layers in pieces of tokens: the same video, less memory, and nothing left behind."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import nullcontext
from itertools import cycle
from typing import Any

import pytest
import torch
from cut_layers import counted_pieces
from plain_runs import core_euler
from tiny_wan import LAYERS, wan_graph

TOKENS = 3 * 8 * 8


@pytest.fixture(scope="module")
def triple(graph):
    _, trajectory = graph.low_res()
    return graph.upsample(trajectory)


@pytest.fixture(scope="module")
def whole(graph, triple):
    return graph.high_res(triple, feed_forward_chunks=1)


def layers_of(graph: Any) -> list[Any]:
    return [block.ffn for block in graph.guider.model_patcher.model.diffusion_model.blocks]


@pytest.mark.parametrize("chunks", [2, 5, 64])
@pytest.mark.parametrize("windowed", [False, True])
def test_pieces_give_the_same_video(graph, triple, whole, chunks: int, windowed: bool):
    inputs: dict[str, Any] = {}
    if windowed:
        _, trajectory = graph.low_res()
        inputs = {"windows": graph.windows(trajectory, triple[0], s=0.5), "backend": "torch_boxes"}
        whole = graph.high_res(triple, feed_forward_chunks=1, **inputs)
    with counted_pieces(layers_of(graph)) as pieces:
        result = graph.high_res(triple, feed_forward_chunks=chunks, **inputs)
    assert torch.allclose(result, whole, atol=1e-5 * float(whole.abs().max()))
    sizes = [len(piece) for piece in torch.arange(TOKENS).chunk(chunks)]
    calls = LAYERS * (len(triple[1]) - 1)
    assert pieces == Counter({size: calls * sizes.count(size) for size in set(sizes)})


@pytest.mark.parametrize(("free", "chunks"), [(2**30, 1), (2**19, 3), (2**10, 64), (0, 64)])
def test_the_number_of_pieces_follows_from_the_free_memory(
    graph, triple, whole, monkeypatch, caplog, free: int, chunks: int
):
    """Two copies of 192 tokens x 256 numbers in fp32 are 384 KiB, and a quarter of the memory may be used.
    With so little of it, core runs each prompt in a pass of its own."""
    import comfy.model_management

    measured = comfy.model_management.get_free_memory

    def pretended(device: Any = None, torch_free_too: bool = False) -> Any:
        """Core's own attention asks for both numbers."""
        return measured(device, torch_free_too) if torch_free_too else free

    monkeypatch.setattr(comfy.model_management, "get_free_memory", pretended)
    monkeypatch.setattr(graph.modules.pack("s2flow_core.feed_forward"), "LEAST_TOKENS", 1)
    with caplog.at_level(logging.INFO), counted_pieces(layers_of(graph)) as pieces:
        result = graph.high_res(triple)
    assert torch.allclose(result, whole, atol=1e-5 * float(whole.abs().max()))
    said = [record.message for record in caplog.records if "pieces of tokens" in record.message]
    assert said == [] if chunks == 1 else len(said) == 1 and f"in {chunks} pieces" in said[0]
    assert max(pieces, default=TOKENS) == -(-TOKENS // min(chunks, TOKENS))


def test_the_number_of_pieces_does_not_fall_when_memory_comes_and_goes(graph, triple, monkeypatch):
    """A compiled model is compiled again for every other number."""
    module, wanted = graph.modules.pack("nodes.host.attention.feed_forward"), cycle([3, 6, 2])
    monkeypatch.setattr(module, "chunks_for", lambda hidden, free, tokens: next(wanted))
    with counted_pieces(layers_of(graph)) as pieces:
        graph.high_res(triple)
    assert len(triple[1]) - 1 == 3
    # In 3 pieces of the first step, then in 6.
    assert pieces == {TOKENS // 3: 3 * LAYERS, TOKENS // 6: 2 * 6 * LAYERS}


def test_what_memory_an_earlier_run_lacked_does_not_count(graph, triple, monkeypatch):
    """A MODEL stays in ComfyUI's cache, and with it the hook of Apply Windows."""
    module = graph.modules.pack("nodes.host.attention.feed_forward")
    _, trajectory = graph.low_res()
    latent, sigmas, noise = triple
    windows = graph.windows(trajectory, latent, s=0.5)
    model = graph.run("S2FlowApplyWindows", model=graph.guider.model_patcher, windows=windows)[0]
    above = wan_graph(graph.modules, model=model)
    for chunks in (6, 2, 1):
        monkeypatch.setattr(module, "chunks_for", lambda *_, wanted=chunks: wanted)
        with counted_pieces(layers_of(graph)) if chunks > 1 else nullcontext(Counter()) as pieces:
            core_euler(above, noise, sigmas, latent)
        assert set(pieces) == ({TOKENS // chunks} if chunks > 1 else set())


@pytest.mark.parametrize("trajectory", [False, True])
def test_a_run_that_asks_for_nothing_is_not_followed(graph, triple, monkeypatch, trajectory: bool):
    """Not even where its layers are read: the host would wait for the device in every pass."""
    given = {"trajectory": graph.low_res()[1], "rope": "none"} if trajectory else {}
    hook = graph.modules.pack("nodes.host.attention.hook").SelfAttentionHook
    monkeypatch.setattr(hook, "describe_forward", lambda *_: pytest.fail("a pass was read"))
    assert torch.isfinite(graph.high_res(triple, feed_forward_chunks=1, **given)).all()


def test_a_run_that_fails_leaves_the_layers_as_they_were(graph, triple):
    layers = layers_of(graph)
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("broken layer")

    handle = layers[1][0].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="broken layer"):
            graph.high_res(triple, feed_forward_chunks=2)
    finally:
        handle.remove()
    assert all("forward" not in vars(layer) for layer in layers)


def test_what_another_pack_put_there_is_cut_and_comes_back(graph, triple, whole):
    layer = layers_of(graph)[0]
    own, seen = layer.forward, []

    def theirs(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[-2])
        return own(x)

    layer.forward = theirs
    try:
        result = graph.high_res(triple, feed_forward_chunks=4)
        assert vars(layer)["forward"] is theirs
    finally:
        del layer.forward
    assert set(seen) == {TOKENS // 4}
    assert torch.allclose(result, whole, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_apply_windows_cuts_under_any_sampler(graph, triple, chunks: int):
    _, trajectory = graph.low_res()
    windows = graph.windows(trajectory, triple[0], s=0.5)
    patcher = graph.guider.model_patcher
    model = graph.run("S2FlowApplyWindows", model=patcher, windows=windows, feed_forward_chunks=chunks)[0]
    above, (latent, sigmas, noise) = wan_graph(graph.modules, model=model), triple
    with counted_pieces(layers_of(graph)) if chunks > 1 else nullcontext(Counter()) as pieces:
        core_euler(above, noise, sigmas, latent)
    assert set(pieces) == ({TOKENS // 2} if chunks > 1 else set())


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_model_whose_layers_are_unknown_is_told_before_it_runs(graph, triple, monkeypatch, chunks: int):
    family = graph.modules.pack("nodes.host.families.wan").Wan
    monkeypatch.setattr(family, "feed_forward_paths", lambda self, model: [])
    if chunks == 2:
        with pytest.raises(ValueError, match=r"feed_forward_chunks is 2, .* Set it to 1"):
            graph.high_res(triple, feed_forward_chunks=chunks)
        return
    assert torch.isfinite(graph.high_res(triple, feed_forward_chunks=chunks)).all()
