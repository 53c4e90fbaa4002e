"""Every name of ComfyUI that the pack's nodes use is in the ComfyUI at hand.

When a version renames something, this says what and where, before any node runs.
"""

from __future__ import annotations

import pytest
from names_of_comfyui import first_missing, used_names

from comfyui_runner.installation import ROOT

FILES = sorted((ROOT / "nodes").rglob("*.py"))


def test_this_comfyui_has_every_name_that_the_nodes_use(comfy_modules):
    missing = [
        f"{path.relative_to(ROOT)} uses {name}, but there is no {absent}"
        for path in FILES
        for name in sorted(used_names(path.read_text(encoding="utf-8")))
        if (absent := first_missing(name)) is not None
    ]
    assert not missing, "\n".join(missing)


def test_the_nodes_use_what_they_are_known_to_use():
    names = {name for path in FILES for name in used_names(path.read_text(encoding="utf-8"))}
    assert {
        "comfy.samplers.KSAMPLER",
        "comfy.sample.fix_empty_latent_channels",
        "comfy.patcher_extension.WrappersMP",
        "comfy_api.latest.io.Schema",
        "latent_preview.prepare_callback",
        "folder_paths.add_model_folder_path",
    } <= names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import comfy.utils\ncomfy.utils.gone(1)", "comfy.utils.gone"),
        ("import comfy.nowhere", "comfy.nowhere"),
        ("def f():\n    from comfy.samplers import Gone", "comfy.samplers.Gone"),
        ("from comfy_api.latest import io as x\nx.Model.Gone()", "comfy_api.latest.io.Model.Gone"),
        ("import comfy.model_management as m\nm.gone.deeper", "comfy.model_management.gone"),
        ("import latent_preview\nlatent_preview.gone", "latent_preview.gone"),
        ("import comfy.utils\ncomfy.utils.ProgressBar", None),
        ("import torch\ntorch.gone\nself.comfy.gone", None),
    ],
)
def test_a_name_that_is_gone_is_named(comfy_modules, source, expected):
    missing = {first_missing(name) for name in used_names(source)} - {None}
    assert missing == ({expected} if expected else set())
