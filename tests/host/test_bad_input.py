"""What the nodes say about wrong inputs, before any sampling starts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_wan import LATENT


@pytest.fixture(scope="module")
def trajectory(graph):
    return graph.low_res()[1]


@pytest.fixture(scope="module")
def triple(graph, trajectory):
    return graph.upsample(trajectory)


@pytest.fixture
def no_sampling(graph, monkeypatch):
    """Fails the test if the model is called."""

    def called(*_, **__):
        raise AssertionError("the model was called before the input was checked")

    monkeypatch.setattr(type(graph.guider), "predict_noise", called)


pytestmark = pytest.mark.usefixtures("no_sampling")


@pytest.fixture(autouse=True)
def records_first(trajectory, triple):
    """The runs that tests start from are made before sampling is forbidden."""


@pytest.mark.parametrize("t_i", [7, -1])
def test_t_i_outside_the_record(graph, trajectory, t_i):
    with pytest.raises(ValueError, match=rf"t_i .* is {t_i}, but the LR run recorded 6 steps"):
        graph.upsample(trajectory, t_i=t_i)


@pytest.mark.parametrize("scale", [0.5, float("nan"), float("inf")])
def test_impossible_scale(graph, trajectory, scale):
    with pytest.raises(ValueError, match="scale is"):
        graph.upsample(trajectory, scale=scale)


def test_a_scale_beyond_all_memory_says_how_much_it_needs(graph, trajectory):
    with pytest.raises(ValueError, match=r"needs at least .* GiB .* this machine has"):
        graph.upsample(trajectory, scale=50_000.0)


def test_target_size_names_the_nearest_valid_one(graph, trajectory):
    with pytest.raises(ValueError, match=r"130×128 does not fit the model.*nearest valid size is 128×128"):
        graph.upsample(trajectory, width=130, height=128)
    with pytest.raises(ValueError, match=r"32×32 is smaller than the low-resolution video \(64×64\)"):
        graph.upsample(trajectory, width=32, height=32)
    with pytest.raises(ValueError, match=r"width is 128 but height is 0"):
        graph.upsample(trajectory, width=128)


def test_a_record_with_nan(graph, trajectory):
    broken = dataclasses.replace(trajectory, denoised=trajectory.denoised * float("nan"))
    with pytest.raises(ValueError, match=r"clean estimate of LR step"):
        graph.upsample(broken)


@pytest.mark.parametrize(
    ("sigmas", "says"),
    [
        ([1.0, 0.5, 0.2], "ends at 0.2 instead of 0"),
        ([1.0, 0.5, 0.6, 0.0], "rises at step"),
        ([1.0, 0.5, 0.5, 0.0], "repeats at step"),
        ([], "no step to run"),
        ([14.6, 7.0, 0.0], "starts at 14.6"),
    ],
)
def test_sigmas_that_no_flow_run_can_use(graph, triple, sigmas, says):
    if "instead of 0" not in says:  # a Low-Res Sampler may stop early, for another to go on
        with pytest.raises(ValueError, match=says):
            graph.low_res(sigmas=torch.tensor(sigmas))
    with pytest.raises(ValueError, match=says):
        graph.high_res(triple, sigmas=torch.tensor(sigmas))


def test_latents_of_another_kind(graph, triple):
    with pytest.raises(ValueError, match=r"has 4 channels, but this model's latents have 16"):
        graph.low_res(latent_image={"samples": torch.ones(1, 4, 3, 8, 8)})
    with pytest.raises(ValueError, match=r"five axes"):
        graph.low_res(latent_image={"samples": torch.ones(1, 16, 8)})
    for shape in ((16,), (16, 8), ()):
        with pytest.raises(ValueError, match=r"latent_image has the shape .* five axes"):
            graph.low_res(latent_image={"samples": torch.ones(shape)})
        with pytest.raises(ValueError, match=r"latent_image has the shape .* five axes"):
            graph.high_res(({"samples": torch.ones(shape)}, *triple[1:]))
    for empty in ((0, 16, 3, 8, 8), (1, 16, 0, 8, 8), (1, 16, 3, 8, 0)):
        with pytest.raises(ValueError, match="is empty"):
            graph.low_res(latent_image={"samples": torch.ones(empty)})
        inputs = {"guider": graph.guider, "mode": "flow_map", "latent": {"samples": torch.ones(empty)}}
        with pytest.raises(ValueError, match="latent is empty"):
            graph.run("S2FlowRefinerSampler", **inputs)
    with pytest.raises(ValueError, match=r"NaN or infinite"):
        graph.high_res(triple, latent_image={"samples": triple[0]["samples"] * float("nan")})


def test_a_trajectory_of_another_model(graph, trajectory, triple):
    other = dataclasses.replace(trajectory, model=dataclasses.replace(trajectory.model, layers=30))
    with pytest.raises(ValueError, match=r"number of layers is 30, the connected model has 2"):
        graph.high_res(triple, trajectory=other)


def test_a_trajectory_of_another_length(graph, trajectory, triple):
    longer = {"samples": torch.zeros(1, 16, 5, 16, 16)}
    with pytest.raises(ValueError, match=r"of 3 latent frames, .* holds 1 of 5"):
        graph.high_res((longer, *triple[1:]), trajectory=trajectory)
    with pytest.raises(ValueError, match=r"of 3 latent frames"):
        graph.windows(trajectory, longer, s=0.5)


def test_windows_of_another_grid_or_model(graph, trajectory, triple):
    larger = graph.upsample(trajectory, scale=3.0)
    windows = graph.windows(trajectory, larger[0], s=0.5)
    with pytest.raises(ValueError, match=r"made for \(3, 12, 12\) tokens .* has \(3, 8, 8\)"):
        graph.high_res(triple, windows=windows)
    windows = graph.windows(trajectory, triple[0], s=0.5)
    fewer = dataclasses.replace(windows, extents=windows.extents[:, :1])
    with pytest.raises(ValueError, match=r"1 layers of 2 heads"):
        graph.high_res(triple, windows=fewer)


def test_noise_of_another_size(graph, trajectory, triple):
    larger = graph.upsample(trajectory, scale=3.0)
    with pytest.raises(ValueError, match=r"noise was made for a latent of"):
        graph.high_res((triple[0], triple[1], larger[2]))


def test_a_low_res_derivative_without_a_trajectory(graph, triple):
    with pytest.raises(ValueError, match=r"needs the trajectory"):
        graph.high_res(triple, order=2, derivative="low_res")


def test_windows_without_a_recorded_attention(graph, trajectory, triple):
    unrecorded = dataclasses.replace(trajectory, reach=None)
    with pytest.raises(ValueError, match=r"holds no attention record"):
        graph.windows(unrecorded, triple[0], s=0.5)


def test_a_model_that_is_no_flow_model(graph, monkeypatch):
    import comfy.model_sampling

    epsilon = comfy.model_sampling.ModelSamplingDiscrete()
    monkeypatch.setitem(graph.guider.model_patcher.object_patches, "model_sampling", epsilon)
    with pytest.raises(ValueError, match=r"WAN21 is not a flow model"):
        graph.low_res(latent_image={"samples": torch.zeros(LATENT)})


class StableDiffusionVae:
    latent_channels, latent_dim = 4, 2


class FluxVae:
    """As many channels as Wan's, but for images."""

    latent_channels, latent_dim = 16, 2


@pytest.mark.parametrize(
    ("vae", "says"),
    [
        (StableDiffusionVae(), "latents have 4 channels, those of the {} 16"),
        (FluxVae(), "makes single images, and the {} is of videos"),
    ],
)
def test_a_vae_of_another_model(graph, trajectory, vae, says):
    with pytest.raises(ValueError, match=says.format("trajectory")):
        graph.upsample(trajectory, vae=vae)
    sheet = {"latent": {"samples": torch.zeros(LATENT)}, "vae": vae, "columns": 2, "frame_height": 64}
    with pytest.raises(ValueError, match=says.format("latent")):
        graph.run("S2FlowContactSheet", **sheet)


def test_a_contact_sheet_of_an_image_latent(graph):
    image = {"samples": torch.zeros(1, 16, 8, 8)}
    with pytest.raises(ValueError, match=r"latent has the shape \(1, 16, 8, 8\), .* five axes"):
        graph.run("S2FlowContactSheet", latent=image, vae=FluxVae(), columns=2, frame_height=64)
