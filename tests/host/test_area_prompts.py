"""Prompts for parts of the picture: where all are, nothing shows the attention of the whole video."""

from __future__ import annotations

from typing import Any

import pytest
import torch

LEFT = {"area": (8, 4, 0, 0)}  # of a latent of 8x8 cells: height, width, y, x
RIGHT = {"area": (8, 4, 0, 4)}
RIGHT_HALF = {"area": ("percentage", 1.0, 1.0, 0.5, 0, 0, 0.5)}  # time, height, width, z, y, x
LATER_FRAMES = {"area": (2, 8, 8, 1, 0, 0)}
WHOLE = {"area": (8, 8, 0, 0)}
WHOLE_IN_PERCENT = {"area": ("percentage", 1.0, 1.0, 1.0, 0, 0, 0)}


def mask(side: int) -> dict[str, Any]:
    given = torch.zeros(1, 8, 8)
    given[:, :side, :side] = 1
    return {"mask": given, "set_area_to_bounds": True, "mask_strength": 1.0}


@pytest.fixture(scope="module")
def guider_of(graph):
    """The graph's guider with its positive prompt once for each of some limits."""

    def of(*limits: dict[str, Any]) -> Any:
        guider = type(graph.guider)(graph.guider.model_patcher)
        (positive,) = graph.guider.original_conds["positive"]
        guider.original_conds = graph.guider.original_conds | {
            "positive": [positive | {"uuid": number} | limit for number, limit in enumerate(limits)]
        }
        guider.cfg = graph.guider.cfg
        return guider

    return of


@pytest.mark.parametrize(
    "limits",
    [(LEFT,), (LEFT, RIGHT), (RIGHT_HALF,), (LATER_FRAMES,)],
    ids=["one", "two", "percent", "in time"],
)
def test_a_small_run_of_area_prompts_alone_is_refused_before_it_starts(graph, guider_of, monkeypatch, limits):
    guider = guider_of(*limits)

    def called(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was called")

    with monkeypatch.context() as patch:
        patch.setattr(type(guider), "predict_noise", called)
        with pytest.raises(
            ValueError, match=r"Every positive prompt is limited to an area .* capture_rows .* to 0"
        ):
            graph.low_res(guider=guider)
    latent, trajectory = graph.low_res(guider=guider, capture_rows=0)
    assert torch.isfinite(latent["samples"]).all() and trajectory.reach is None


@pytest.mark.parametrize(
    "limits",
    [({}, LEFT), (LEFT, RIGHT, {}), (WHOLE,), (WHOLE_IN_PERCENT, RIGHT_HALF)],
    ids=["with a whole one", "last", "as large as the picture", "percent"],
)
def test_one_prompt_for_the_whole_picture_is_enough(graph, guider_of, limits):
    _, trajectory = graph.low_res(guider=guider_of(*limits))
    assert trajectory.reach.mass.shape[0] == trajectory.steps
    assert torch.isfinite(trajectory.reach.mass).all()


@pytest.mark.parametrize(
    ("prompt", "limited"),
    [
        ({}, False),
        ({"mask": torch.zeros(1, 8, 8)}, False),  # a mask alone cuts nothing out
        (mask(8), False),
        (mask(7), True),
        ({"mask": torch.zeros(8, 8), "set_area_to_bounds": True}, True),
        ({"area": (8, 8, 0, 0)}, False),
        ({"area": (7, 8, 1, 0)}, True),
        ({"area": (3, 9, 8, 0, 0, 0)}, False),
        ({"area": ("percentage", 0.5, 1.0, 1.0, 0, 0, 0)}, True),
    ],
    ids=range(9),
)
def test_what_counts_as_limited(comfy_modules, prompt, limited):
    assert comfy_modules.pack("nodes.host.model.areas").is_limited(prompt, (3, 8, 8)) is limited
