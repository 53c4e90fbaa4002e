"""What a call over 460,800 tokens allocates and what it makes a GPU wait for, counted on fake tensors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from device_traffic import DeviceTraffic
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from triton_interpreter import needs_triton

from benchmarks.common.live_memory import LiveMemory
from s2flow_core.attention import boxes, tile_means
from s2flow_core.attention.backends import torch_boxes
from s2flow_core.attention.call import AttentionCall
from s2flow_core.attention.known_masks import KnownMasks
from s2flow_core.attention.sequence import VideoSequence
from s2flow_core.attention.window_attention import HeadWindows, window_attention
from s2flow_core.windows.grid import TokenGrid

LARGE = TokenGrid((30, 96, 160))
HEADS, DIM, TEXT = 24, 128, 256
WINDOWS = ((15, 6, 10), (15, 12, 5), (4, 12, 20))

Run = Callable[[AttentionCall], Tensor]


class Answered(KnownMasks):
    """Knows of a mask what its name says: fake tensors hold no numbers that could be asked."""

    def __init__(self, mask: str, device: str):
        super().__init__()
        shown = torch.empty(TEXT // 2, dtype=torch.int64, device=device)
        self.by_question: dict[str, Any] = {
            "video": mask == "video",
            "text": shown if mask == "text" else None,
            "text bias": torch.empty(1, TEXT, device=device) if mask == "video" else None,
        }

    def once(self, mask: Tensor, question: Hashable, read: Callable[[], Any]) -> Any:
        assert isinstance(question, tuple)
        return self.by_question[question[0]]


@pytest.fixture
def fake_gpu() -> Iterator[None]:
    """Tensors made here say that they are on a GPU; tables that were kept for one are forgotten.

    Torch's attention makes its result and nothing else, as it does by the kernels that a GPU has.
    """
    kept = [boxes.tiles_inside, tile_means.log_sizes, tile_means._number_of_tokens]
    with FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device_of", lambda tensor: nullcontext())
        patch.setattr(F, "scaled_dot_product_attention", lambda q, *given, **named: torch.empty_like(q))
        yield
    for table in kept:
        table.cache_clear()


@pytest.fixture
def triton_run(fake_gpu: None) -> Iterator[Run]:
    """The Triton backend as on Hopper, without the launches themselves."""
    backend = import_module("s2flow_core.attention.backends.triton_windows")
    means = import_module("s2flow_core.attention.backends.triton_tile_means")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "architecture_of", lambda device: "sm_90")
        patch.setattr(backend, "window_attention_programs", lambda programs: lambda *given, **named: None)
        patch.setattr(means, "tile_means_programs", lambda programs: lambda *given, **named: None)
        yield backend.run
    for table in (backend.longest_first, backend.extra_places):
        table.cache_clear()


def a_call(grid: TokenGrid, mask: str, tail: bool, device: str = "cuda") -> AttentionCall:
    """Heads side by side in memory, as models have them; mask: "none", or where it hides keys."""
    tokens = grid.tokens + TEXT
    q, k, v = (
        torch.empty(1, tokens, HEADS, DIM, dtype=torch.bfloat16, device=device).transpose(1, 2) for _ in "qkv"
    )
    extents = tuple(WINDOWS[head % len(WINDOWS)] for head in range(HEADS))
    bias = None if mask == "none" else torch.empty(1, tokens, device=device)
    call = AttentionCall(q, k, v, grid, extents, 0, TEXT, bias, DIM**-0.5, tail)
    return replace(call, masks=Answered(mask, device))


def share_of_q(run: Run, call: AttentionCall) -> float:
    """Most bytes alive at once beside the output, as a part of q's."""
    size = call.q.numel() * call.q.element_size()
    with LiveMemory() as memory:
        out = run(call)
    return (memory.peak - out.numel() * out.element_size()) / size


@needs_triton
@pytest.mark.parametrize("mask", ["none", "text", "video"])
@pytest.mark.parametrize("tail", [False, True])
def test_the_kernel_needs_little_memory_beside_its_output(triton_run: Run, mask: str, tail: bool):
    assert share_of_q(triton_run, a_call(LARGE, mask, tail)) <= 0.05


@pytest.mark.parametrize("tail", [False, True])
def test_tile_means_need_little_memory_where_torch_computes_them(fake_gpu: None, tail: bool):
    call = a_call(LARGE, "video", tail)
    with LiveMemory() as memory:
        torch_boxes.extra_keys(call)
    assert memory.peak <= 0.05 * call.q.numel() * call.q.element_size()


def test_boxes_need_the_memory_that_their_copies_are_allowed(fake_gpu: None):
    """A box's keys lie apart, and torch's attention wants them side by side: 256 MiB of keys, as many values.

    Fewer at once would leave a GPU idle, whose kernels take one box of one head in a few of their blocks.
    """
    call = replace(a_call(LARGE, "none", tail=True), some_heads=(0, 1, 2))
    allowed = 2 * torch_boxes._MOST_KEY_ELEMENTS["cuda"] / call.q.numel()
    assert share_of_q(torch_boxes.run, call) <= allowed + 0.05


SMALL = TokenGrid((4, 16, 32))


@needs_triton
@pytest.mark.parametrize("mask", ["none", "text", "video"])
@pytest.mark.parametrize("tail", [False, True])
def test_no_later_call_of_the_kernel_waits(triton_run: Run, mask: str, tail: bool):
    assert waits_of_second(triton_run, mask, tail) == {}


@pytest.mark.parametrize("mask", ["none", "text", "video"])
@pytest.mark.parametrize("tail", [False, True])
def test_no_later_call_of_the_boxes_waits(fake_gpu: None, mask: str, tail: bool):
    assert waits_of_second(torch_boxes.run, mask, tail) == {}


def waits_of_second(run: Run, mask: str, tail: bool) -> dict[str, int]:
    call = replace(a_call(SMALL, mask, tail), extents=((2, 1, 3), (1, 2, 2), (1, 2, 4)) * 8)
    run(call)
    with DeviceTraffic() as traffic:
        run(call)
    return dict(traffic.waits)


@pytest.mark.parametrize("hidden", ["text", "video"])
def test_layers_that_share_a_mask_ask_for_it_once(hidden: str):
    """On the CPU, where a mask has numbers; a mask of its own is asked for anew."""
    grid = TokenGrid((2, 8, 8), (1, 4, 4))
    q, k, v = torch.randn(3, 1, 2, grid.tokens + 6, 64)
    mask = torch.zeros(1, 1, 1, grid.tokens + 6)
    mask[..., slice(-3, None) if hidden == "text" else slice(5, 9)] = -torch.inf
    windows = HeadWindows(torch.tensor([[1, 1, 2], [2, 2, 1]]), tail=True)

    def waits(mask: Tensor, masks: KnownMasks) -> int:
        sequence = VideoSequence(grid, suffix=6, key_mask=mask, masks=masks)
        with DeviceTraffic() as traffic:
            window_attention(q, k, v, sequence, windows, backend="torch_boxes")
        return traffic.waits.total()

    masks = KnownMasks()
    assert waits(mask, masks) > 0
    assert waits(mask, masks) == 0
    assert waits(mask.clone(), masks) > 0
    assert waits(mask, KnownMasks()) > 0


def test_copies_between_devices_are_counted(fake_gpu: None):
    x = torch.empty(4, device="cuda")
    culprits: dict[str, Callable[[], Any]] = {
        "to the device": lambda: torch.zeros(4).to(x.device),
        "from a list": lambda: torch.tensor([1.0, 2.0], device="cuda"),
        "to the CPU": lambda: x.to("cpu"),
        "copy": lambda: x.copy_(torch.zeros(4)),
    }
    for name, culprit in culprits.items():
        with DeviceTraffic() as traffic:
            culprit()
        assert traffic.waits.total() == 1, name


READ_BACK: dict[str, Callable[[Tensor], Any]] = {
    "one number": lambda x: x[0].item(),
    "whether there is any": lambda x: bool(x.any()),
    "a choice by a mask": lambda x: x[x > 0],
    "places": torch.nonzero,
}


@pytest.mark.parametrize("read", READ_BACK.values(), ids=READ_BACK)
def test_what_is_read_back_is_counted(read: Callable[[Tensor], Any]):
    with DeviceTraffic() as traffic:
        read(torch.ones(4))
    assert traffic.waits.total() == 1
