"""A saved run gives the same high-resolution video as the run itself."""

from __future__ import annotations

import pytest
import torch


def test_saved_and_loaded_runs_give_the_same_video(graph, output_folder):
    latent, trajectory = graph.low_res()
    save = graph.modules.node("S2FlowSaveTrajectory")
    shown = save.execute(trajectory, "trajectories/day").ui.as_dict()["text"][0]
    again = save.execute(trajectory, "trajectories/day").ui.as_dict()["text"][0]
    assert shown == "output/trajectories/day_00001.s2flow.safetensors"
    assert again == "output/trajectories/day_00002.s2flow.safetensors"
    places = graph.modules.pack("nodes.host.file_places")
    assert set(places.listed_files(".s2flow.safetensors")) >= {shown, again}

    loaded_latent, loaded = graph.run("S2FlowLoadTrajectory", file=shown)
    assert torch.equal(loaded_latent["samples"], latent["samples"])
    triple, loaded_triple = graph.upsample(trajectory), graph.upsample(loaded)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    loaded_windows = graph.windows(loaded, loaded_triple[0], s=0.5)
    settings = {"order": 2, "derivative": "low_res"}
    expected = graph.high_res(triple, trajectory=trajectory, windows=windows, **settings)
    result = graph.high_res(loaded_triple, trajectory=loaded, windows=loaded_windows, **settings)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("precision", ["half", "full"])
def test_the_record_has_the_precision_that_was_asked_for(graph, output_folder, precision):
    dtype = {"half": torch.float16, "full": torch.float32}[precision]
    latent, trajectory = graph.low_res(precision=precision, capture_rows=0)
    graph.modules.node("S2FlowSaveTrajectory").execute(trajectory, precision)
    file = f"output/{precision}_00001.s2flow.safetensors"
    _, loaded = graph.run("S2FlowLoadTrajectory", file=file)
    for record in (trajectory, loaded):
        assert record.denoised.dtype == record.noise.dtype == dtype
        assert record.denoised.device.type == record.noise.device.type == "cpu"
    # The last step lands on its own clean estimate, so that is known to float32.
    error = (trajectory.denoised[-1].float() - latent["samples"]).abs().max()
    assert error < 1e-5 if precision == "full" else 1e-5 < error < 1e-2
    triple = graph.upsample(loaded)
    result = graph.high_res(triple, trajectory=loaded, order=3, derivative="blend")
    assert torch.isfinite(result).all()
