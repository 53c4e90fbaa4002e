"""What artists saved with version 0.1.0 still loads, runs and gives the same video."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from comfyui_runner.workflow_api import to_api
from demo.run_demo.video_files import read_facts

FORMER = Path(__file__).parent / "former"
# Fewer steps than the artist had; the graph stays what it was.
SHORTER = {
    "BasicScheduler": {"steps": 4},
    "PrimitiveInt": {"value": 2},  # k of the bowtie
    "S2FlowUpsample": {"t_i": 1},
    "EmptyHunyuanLatentVideo": {"length": 5},
}


def test_a_saved_trajectory_gives_the_video_that_it_gave(graph):
    """trajectory: 6 steps on tiny_wan.wan_graph, by its Save Trajectory; high_res: its HR run, as below."""
    trajectory = graph.modules.pack("s2flow_core.trajectory.files").load_trajectory(
        FORMER / "trajectory.s2flow.safetensors"
    )
    _, again = graph.low_res()
    # Another processor rounds a few numbers to the next one of half precision, in which they are kept.
    assert torch.allclose(trajectory.denoised.float(), again.denoised.float(), rtol=2**-10, atol=2e-3)
    assert torch.equal(trajectory.sigmas, again.sigmas)
    triple = graph.upsample(trajectory)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    settings = {"order": 3, "derivative": "blend", "rope": "position"}
    result = graph.high_res(triple, trajectory=trajectory, windows=windows, **settings)
    expected = load_file(FORMER / "high_res.safetensors")["high_res"]
    assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("policy", "tail", "said"), [("error", True, 1), ("error", False, 0), ("paper", True, 0)]
)
def test_a_record_without_tails_says_what_it_cannot_choose_by(graph, record, caplog, policy, tail, said):
    trajectory, triple, _ = record
    former = replace(trajectory, reach=replace(trajectory.reach, tail_error=None, tail_nothing=None))
    with caplog.at_level("INFO"):
        graph.run("S2FlowWindowMask", trajectory=former, latent=triple[0], s=0.5, policy=policy, tail=tail)
    assert sum("run the Low-Res Sampler again" in entry.getMessage() for entry in caplog.records) == said


@pytest.mark.parametrize(
    ("name", "saved"),
    [("s2flow_quickstart", "s2flow_quickstart"), ("s2flow_bowtie_high_res", "s2flow_bowtie")],
)
def test_a_saved_graph_runs(comfyui_server, name, saved):
    workflow = json.loads((FORMER / f"{name}.json").read_text(encoding="utf-8"))
    prompt = copy.deepcopy(to_api(workflow, comfyui_server.object_info))
    for node in prompt.values():
        node["inputs"] |= SHORTER.get(node["class_type"], {})
    run = comfyui_server.queue(prompt)
    assert run.succeeded, run.error
    written = [
        comfyui_server.output / item["subfolder"] / item["filename"]
        for output in run.outputs.values()
        for item in output.get("images", [])
        if item["filename"].startswith(f"{saved}_0")
    ]
    (video,) = written
    facts = read_facts(video)
    assert (facts.width, facts.height) == (256, 256)
