"""How many workers a cluster gets; Ray is not needed to know it."""

from __future__ import annotations

import pytest

from farm.cluster_size import ClusterOptions, workers_for
from farm.refusal import Refusal


@pytest.mark.parametrize(
    ("workers", "gpus", "resources", "expected"),
    [
        (None, 1, {"GPU": 8.0, "CPU": 64.0}, 8),
        (None, 2, {"GPU": 7.0, "CPU": 64.0}, 3),
        (None, 0.5, {"GPU": 2.0, "CPU": 64.0}, 4),
        (3, 1, {"GPU": 8.0, "CPU": 64.0}, 3),
        (None, 0, {"CPU": 64.0}, 1),
        (2, 0, {"CPU": 2.0}, 2),
    ],
)
def test_as_many_workers_as_there_is_room_for(workers, gpus, resources, expected):
    assert workers_for(ClusterOptions("auto", workers, gpus), resources) == expected


@pytest.mark.parametrize(
    ("workers", "gpus", "resources", "said"),
    [
        (None, 1, {"CPU": 8.0}, "no room for 1 GPU"),
        (9, 1, {"GPU": 8.0}, "room for 8 workers, not for 9. Give --workers 8"),
        (3, 0, {"CPU": 2.0}, "room for 2 workers, not for 3"),
    ],
)
def test_too_little_room_is_told(workers, gpus, resources, said):
    with pytest.raises(Refusal, match=said):
        workers_for(ClusterOptions("auto", workers, gpus), resources)
