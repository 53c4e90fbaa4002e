"""Cancelled at any moment, the next run is that of a fresh process; many runs leave nothing behind."""

from __future__ import annotations

import gc
import random

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

SETTINGS = {"order": 3, "backend": "torch_boxes", "rope": "position"}


def chain(graph):
    """Small run, enlarged, windows, large run."""
    _, trajectory = graph.low_res()
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    return graph.high_res(triple, trajectory=trajectory, windows=windows, **SETTINGS)


def hooks_of(graph):
    """Everything that a run might leave in the model, its options or its guider."""
    patcher = graph.guider.model_patcher
    options = patcher.model_options["transformer_options"]
    forward_hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in patcher.model.diffusion_model.modules()
    ]
    return sorted(options), sum(forward_hooks), len(patcher.wrappers), sorted(vars(graph.guider))


class Cancel:
    """Presses ComfyUI's cancel at the n-th attention call or block, and counts them."""

    def __init__(self, graph):
        self.blocks = graph.guider.model_patcher.model.diffusion_model.blocks
        self.seen, self.at = 0, 0

    def __enter__(self):
        self.hooks = [block.register_forward_pre_hook(self.count) for block in self.blocks]
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()

    def count(self, *_):
        import comfy.model_management

        self.seen += 1
        if self.seen == self.at:
            comfy.model_management.interrupt_current_processing()


@pytest.mark.timeout(3600)  # under --long
def test_cancels_at_random_moments_leave_a_fresh_process(graph, amount):
    import comfy.model_management

    expected, before = chain(graph), hooks_of(graph)
    choose = random.Random(4)
    with Cancel(graph) as cancel:
        chain(graph)
        moments = cancel.seen
        for _ in amount("cancels at random moments", 8, 50):
            cancel.seen, cancel.at = 0, choose.randrange(1, moments + 1)
            with pytest.raises(comfy.model_management.InterruptProcessingException):
                chain(graph)
            # Within the block in which it was pressed: its own attention is where the run stops.
            assert cancel.seen == cancel.at
        cancel.at = 0
    assert torch.equal(chain(graph), expected)
    assert hooks_of(graph) == before


@pytest.mark.timeout(3600)
def test_many_runs_in_one_process_hold_no_more_than_a_few(graph, amount):
    chain(graph)
    before, alive = hooks_of(graph), [bytes_alive()]
    for _ in amount("runs in one process", 6, 200):
        chain(graph)
        alive.append(bytes_alive())
    assert max(alive) <= 1.02 * alive[0]
    assert hooks_of(graph) == before


def bytes_alive():
    """Of every tensor that Python still holds; those of a compiler have no memory."""
    gc.collect()
    found = [one for one in gc.get_objects() if issubclass(type(one), Tensor)]
    tensors = [one for one in found if not isinstance(one, FakeTensor) and one.device.type != "meta"]
    return sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())
