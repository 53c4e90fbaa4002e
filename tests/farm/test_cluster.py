"""The Ray pool before anything runs: what is told where there is no cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.cluster_size import ClusterOptions
from farm.refusal import Refusal
from farm.worker import WorkerSettings

pytest.importorskip("ray", reason="Ray is not installed; pip install 'ray==2.60.*' brings it.")

from farm.cluster import RayPool


def test_an_address_that_is_none_is_told(tmp_path):
    settings = WorkerSettings(tmp_path, Path("python"), tmp_path, tmp_path)
    pool = RayPool(settings, ClusterOptions("nobody:here", None, 0), "token", [])
    with pytest.raises(Refusal, match="No Ray cluster answers at nobody:here"), pool:
        pass
