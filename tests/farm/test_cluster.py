"""The Ray pool before anything runs: how many workers, and what is told where there is no cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.refusal import Refusal
from farm.worker import WorkerSettings

pytest.importorskip("ray", reason="Ray is not installed; pip install 'ray==2.60.*' brings it.")

from farm.cluster import ClusterOptions, RayPool, workers_for


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


def test_an_address_that_is_none_is_told(tmp_path):
    settings = WorkerSettings(tmp_path, Path("python"), tmp_path, tmp_path)
    pool = RayPool(settings, ClusterOptions("nobody:here", None, 0), "token", [])
    with pytest.raises(Refusal, match="No Ray cluster answers at nobody:here"), pool:
        pass
