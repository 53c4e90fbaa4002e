"""A whole run of a variant with windows and without, as tests of what is stacked on a model compare them."""

from __future__ import annotations

from typing import Any

from tiny_variant import Variant, variant_graph
from torch import Tensor


def both_runs(
    modules: Any, variant: Variant, model: Any, tolerance: float = 1e-3, **changes: Any
) -> tuple[Tensor, Tensor]:
    """HR videos with windows and without, after an LR run; windows of everything change nothing.

    tolerance: of that, relative.
    """
    graph = variant_graph(modules, variant, model)
    _, trajectory = graph.low_res(**changes)
    assert trajectory.reach is not None
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    whole = graph.windows(trajectory, triple[0], s=1.0)
    dense = video_of(graph.high_res(triple))
    same = video_of(graph.high_res(triple, windows=whole, backend="torch_boxes"))
    assert_close(same, dense, tolerance)
    return video_of(graph.high_res(triple, windows=windows, backend="torch_boxes")), dense


def video_of(samples: Any) -> Tensor:
    """The video of samples that may hold sound too."""
    return samples.unbind()[0] if getattr(samples, "is_nested", False) else samples


def assert_close(result: Tensor, expected: Tensor, relative: float) -> None:
    assert (result - expected).abs().max() <= relative * expected.abs().max()
