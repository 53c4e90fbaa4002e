"""The shipped Refiner: small, loaded by core, and nearer to the truth than what it starts from."""

from __future__ import annotations

import pytest
import torch

from demo.files import REFINER_FILE


@pytest.fixture(scope="module")
def refiner(comfy_modules):
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(REFINER_FILE))


def test_the_file_is_small_and_of_wans_architecture(refiner):
    assert REFINER_FILE.stat().st_size <= 10_000_000
    assert type(refiner.model.diffusion_model).__name__ == "WanModel"


def test_ten_steps_come_nearer_to_the_large_latent(comfy_modules, refiner):
    """On a held-out clip, half of it in each direction to spare the VAE."""
    from demo.clips.scenes import draw_scene, render
    from demo.measure import HELD_OUT_SEED

    generate = comfy_modules.pack("demo.generate")
    scene = draw_scene(HELD_OUT_SEED + 7)
    high = render(scene, 256, crop=(64, 64, 128))
    low = render(scene, 128, crop=(32, 32, 64))
    with torch.inference_mode():
        vae = generate.load_models().vae
        truth = vae.encode(high)
        given = {"latent": {"samples": vae.encode(low)}, "mode": "flow_map", "vae": vae}
        guider = generate.guider_for(
            refiner, [comfy_modules.pack("demo.vocabulary").Prompt(*scene.prompt.words)], 1.0
        )
        node = comfy_modules.node("S2FlowRefinerSampler")
        refined = node.execute(guider=guider, **given).args[0]["samples"]
        resize = comfy_modules.pack("s2flow_core.latent.resample").resize_video
        start = vae.encode(resize(vae.decode(vae.encode(low))[0].clamp(0, 1), (128, 128)))
    errors = [float((latent - truth).square().mean()) for latent in (refined, start)]
    assert errors[0] < 0.7 * errors[1]
