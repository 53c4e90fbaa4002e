"""The device is asked once about a mask, however many layers share it."""

from __future__ import annotations

import torch

from s2flow_core.attention.known_masks import KnownMasks


def test_a_question_is_asked_once_per_mask():
    masks, asked = KnownMasks(), []

    def answer(mask: torch.Tensor, question: str) -> float:
        def read() -> float:
            asked.append((mask, question))
            return mask.sum().item()

        return masks.once(mask, question, read)

    one, equal, other = torch.ones(3), torch.ones(3), torch.zeros(3)
    assert [answer(one, "sum"), answer(one, "sum"), answer(other, "sum")] == [3.0, 3.0, 0.0]
    assert answer(equal, "sum") == answer(one, "again") == 3.0
    assert len(asked) == 4


def test_a_new_mask_is_never_taken_for_one_that_is_gone():
    """Python gives a new tensor the address of one that was freed, unless something holds that one."""
    masks = KnownMasks()
    for value in range(50):
        mask = torch.full((4,), float(value))
        assert masks.once(mask, "first", lambda mask=mask: mask[0].item()) == value
        del mask
