"""Window Mask shows its progress and is cancelled within one step of planning."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("policy", "passes"), [("paper", 2), ("budget", 3), ("error", 3), ("fixed", 1)])
def test_the_bar_runs_to_its_end(graph, record, policy, passes):
    import comfy.utils

    trajectory, triple, _ = record
    shown = []
    before = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: shown.append((value, total)))
    try:
        graph.windows(trajectory, triple[0], s=0.5, policy=policy)
    finally:
        comfy.utils.set_progress_bar_global_hook(before)
    # The curve of other values of s asks for five plans of three steps.
    total = passes * (trajectory.steps + 5 * 3)
    # Later versions pass on only what is a tenth of a second apart.
    every = [(done, total) for done in range(1, total + 1)]
    assert shown == sorted(set(shown) & set(every)) and shown[-1] == every[-1] and shown[0] == every[0]


@pytest.mark.parametrize("policy", ["paper", "budget", "error", "fixed"])
def test_cancel_takes_effect_within_one_step_and_leaves_nothing(graph, record, policy):
    import comfy.model_management as management
    import torch

    trajectory, triple, _ = record
    expected = graph.windows(trajectory, triple[0], s=0.5, policy=policy)
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        graph.windows(trajectory, triple[0], s=0.5, policy=policy)
    again = graph.windows(trajectory, triple[0], s=0.5, policy=policy)
    assert torch.equal(again.extents, expected.extents)
