"""A training that was stopped ends where an unbroken one does."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_refiner import train_here

from training import loop
from training.refiner import training_run
from training.refiner.loss import flow_mapping_loss


class Stopped(Exception):
    """A run that is killed."""


@pytest.mark.parametrize("options", [(), ("--lora", 2)], ids=["full", "lora"])
def test_a_training_stopped_in_its_second_stage_ends_where_an_unbroken_one_does(
    base, videos, tmp_path, monkeypatch, options
):
    def train(out: Path) -> None:
        train_here(videos, out, "--model", base, "--stages", "5:2,9:4", "--rate", 1e-2, *options)

    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(whole)
    steps = itertools.count(1)

    def stopping(*given):
        if next(steps) == 5:
            raise Stopped
        return flow_mapping_loss(*given)

    with monkeypatch.context() as patches, pytest.raises(Stopped):
        patches.setattr(training_run, "flow_mapping_loss", stopping)
        # A clock by which every step takes an hour, so that every step leaves a checkpoint.
        patches.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count(0, 3600).__next__))
        train(parts)
    stopped = torch.load(parts.with_suffix("") / "refiner_stage2.pt", weights_only=True)
    assert stopped["step"] == 2
    assert not parts.exists()

    def resumed(*given):
        next(steps)
        return flow_mapping_loss(*given)

    monkeypatch.setattr(training_run, "flow_mapping_loss", resumed)
    train(parts)
    assert next(steps) == 8  # the two steps that were left, after the five before
    ours, theirs = load_file(parts), load_file(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
