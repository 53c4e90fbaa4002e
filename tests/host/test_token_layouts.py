"""Token layouts that ComfyUI 0.3.75 does not have itself, but later versions do."""

from __future__ import annotations

import pytest
import torch
from tiny_hunyuan import HUNYUAN_VARIANTS, TEXT_TOKENS
from tiny_wan_variants import WAN_VARIANTS


@pytest.fixture(scope="module")
def layouts(comfy_modules):
    return comfy_modules.pack("nodes.host.families")


def loaded(variants, name, folder):
    variant = next(variant for variant in variants if variant.name == name)
    return variant.load(folder).model.diffusion_model


def test_text_behind_the_video_and_before_it_in_later_versions(layouts, tmp_path):
    model = loaded(HUNYUAN_VARIANTS, "hunyuan_t2v", tmp_path)
    latent, context = torch.zeros(1, 16, 3, 8, 8), torch.zeros(1, TEXT_TOKENS, 64)
    reference = torch.zeros(1, 16, 1, 8, 8)
    family = layouts.family_of(model)
    inputs = {"context": context, "ref_latent": reference}
    behind = layouts.TokenLayout(16, (3, 4, 4), TEXT_TOKENS)
    before = layouts.TokenLayout(TEXT_TOKENS + 16, (3, 4, 4))
    for flipped, expected in ((True, behind), (False, before)):
        for block in model.double_blocks:
            block.flipped_img_txt = flipped
        assert family.layout(model, latent, inputs) == expected


def test_reference_videos_behind_the_video_in_later_versions(layouts, tmp_path):
    model = loaded(WAN_VARIANTS, "wan21_t2v", tmp_path)
    inputs = {"context_latents": [torch.zeros(1, 16, 2, 8, 8), torch.zeros(1, 16, 1, 4, 6)]}
    layout = layouts.family_of(model).layout(model, torch.zeros(1, 16, 3, 7, 8), inputs)
    assert layout == layouts.TokenLayout(0, (3, 4, 4), 2 * 16 + 2 * 3)


def test_an_image_model_of_a_known_class_is_no_family(layouts, comfy_modules):
    from tiny_hunyuan import hunyuan_network

    image = hunyuan_network(patch_size=[2, 2], axes_dim=[64, 64])
    assert layouts.family_of(image) is None
