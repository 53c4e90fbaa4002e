"""The workflows for published models: as the generator writes them, valid, laid out, and running."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_prompt import PromptRun
from tiny_files import Loaders
from tiny_variant import older_than

from comfyui_runner.installation import ROOT
from comfyui_runner.workflow_api import to_api
from templates.files import FILES
from templates.recipe import Recipe
from templates.recipes import RECIPES
from templates.writing import content_of, file_of, recipes_of

Json = dict[str, Any]
SIDE = 64  # of the small video, in pixels
FRAMES, LTX_FRAMES, H3_FRAMES = 5, 9, 22
CONTEXT, OVERLAP, STEPS = 5, 4, 2


@pytest.fixture(scope="module")
def definitions(comfy_modules) -> Json:
    """Of every node, as GET /object_info gives them to the browser."""
    return {name: definition_of(node) for name, node in comfy_modules.nodes.NODE_CLASS_MAPPINGS.items()}


def definition_of(node: Any) -> Json:
    if hasattr(node, "GET_NODE_INFO_V1"):
        return json.loads(json.dumps(node.GET_NODE_INFO_V1(), default=list))
    names = getattr(node, "RETURN_NAMES", None) or node.RETURN_TYPES
    described = {"input": node.INPUT_TYPES(), "output": node.RETURN_TYPES, "output_name": names}
    return json.loads(json.dumps(described, default=list))


@pytest.fixture(params=RECIPES, ids=[recipe.prefix for recipe in RECIPES])
def recipe(request) -> Recipe:
    wanted = request.param
    if wanted.since > (0, 3) and older_than(".".join(map(str, wanted.since))):
        pytest.skip(f"{wanted.name} needs a newer ComfyUI")
    return wanted


@pytest.fixture
def workflow(recipe) -> Json:
    return json.loads(file_of(recipe).read_text(encoding="utf-8"))


def test_files_are_what_the_generator_writes(definitions):
    for recipe in recipes_of(definitions):
        assert file_of(recipe).read_text(encoding="utf-8") == content_of(recipe, definitions), recipe.name


def test_every_recipe_has_its_file_and_a_picture_of_its_own():
    pictures = [file_of(recipe).with_suffix(".jpg").read_bytes() for recipe in RECIPES]
    assert len(set(pictures)) == len(RECIPES)
    numbered = {path.name for path in (ROOT / "workflows").glob("[1-9][0-9] *.json")}
    assert numbered == {file_of(recipe).name for recipe in RECIPES}


@pytest.fixture(scope="module")
def named_files(comfy_modules, tmp_path_factory) -> Iterator[Path]:
    """ComfyUI lists the files that the workflows name, which hold nothing."""
    import folder_paths

    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        for kind in {file["directory"] for file in FILES.values()}:
            (folder / kind).mkdir()
            old, suffixes = folder_paths.folder_names_and_paths[kind]
            patch.setitem(folder_paths.folder_names_and_paths, kind, ([*old, str(folder / kind)], suffixes))
        for name, file in FILES.items():
            (folder / file["directory"] / name).touch()
        yield folder


@pytest.mark.usefixtures("named_files")
def test_a_workflow_is_a_valid_prompt(definitions, comfy_modules, workflow):
    import execution

    kinds = {node["type"] for node in workflow["nodes"]}
    fresh = {kind: definition_of(comfy_modules.node(kind)) for kind in kinds & definitions.keys()}
    prompt = to_api(workflow, fresh)
    valid, error, outputs, problems = asyncio.run(execution.validate_prompt("test", prompt, None))
    assert valid, (error, problems)
    assert not problems
    assert {key for key, node in prompt.items() if node["class_type"] == "SaveVideo"} <= set(outputs)


def test_links_start_and_end_where_the_nodes_say(definitions, workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, origin, slot, target, into, kind in workflow["links"]:
        assert number in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][into]["link"] == number
        assert definitions[nodes[origin]["type"]]["output"][slot] == kind
        assert nodes[target]["inputs"][into]["type"] in (kind, "*")


def test_every_value_is_one_that_a_widget_holds(workflow):
    for node in workflow["nodes"]:
        for value in node["widgets_values"]:
            assert isinstance(value, str | int | float | bool), (node["type"], value)


def test_every_file_has_the_address_where_it_is_found(recipe, workflow):
    offered = {}
    for node in workflow["nodes"]:
        models = node["properties"].get("models", [])
        offered |= {model["name"]: model for model in models}
        for model in models:
            assert model["name"] in node["widgets_values"], node["type"]
    assert set(recipe.files) <= offered.keys()
    for model in offered.values():
        assert model["url"].startswith("https://huggingface.co/")
        assert model["url"].endswith(f"/{model['name']}")
        assert model["directory"]


def test_the_note_says_what_the_artist_must_know(recipe, workflow):
    (note,) = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    settings = recipe.settings
    for said in (f"{settings.size.width}×", f"{settings.large.width}×", f": {settings.steps}, of which"):
        assert said in note
    assert f"which {settings.steps_left} run" in note and f"**s** {settings.s:g}" in note
    assert "Not yet run on a GPU" in note
    assert re.search(r"a card of \d+ GB or more|not counted|more than any", note)


def test_it_runs_with_tiny_checkpoints_in_place_of_the_files(
    comfy_modules, definitions, recipe, workflow, tmp_path
):
    prompt = to_api(workflow, definitions)
    loaders = Loaders(prompt, tmp_path)
    for node in prompt.values():
        shorten(node["inputs"], recipe)
        if node["class_type"] == "S2FlowUpsample" and not loaders.vae_name:
            del node["inputs"]["vae"]  # of MiniMax H3 there is no tiny VAE that encodes
    videos: dict[str, Any] = {}

    def answer(kind: str, inputs: Json) -> tuple[Any, ...] | None:
        if kind == "SaveVideo":
            videos[inputs["filename_prefix"]] = inputs["video"]
            return ()
        if kind == "LoadImage":
            return (torch.rand(1, 96, 96, 3, generator=torch.Generator().manual_seed(1)),)
        return answered_sound(kind) or loaders.answer(kind)

    run = PromptRun(comfy_modules, prompt, answer)
    with torch.inference_mode():
        for number, node in prompt.items():
            if node["class_type"] in ("SaveVideo", "PreviewAny", "S2FlowCompare"):
                run.result(number)
    small, large = (videos[name] for name in (f"{recipe.prefix}_preview", recipe.prefix))
    assert small.get_dimensions() == (SIDE, SIDE)
    assert large.get_dimensions() == (2 * SIDE, 2 * SIDE)
    for video in (small, large):
        assert float(video.get_components().frame_rate) == recipe.settings.fps
        assert video.get_components().images.isfinite().all()


def shorten(inputs: Json, recipe: Recipe) -> None:
    """The same graph with a small picture, few frames and few steps."""
    small, large = recipe.settings.size, recipe.settings.large
    for wanted, length in ((small, SIDE), (large, 2 * SIDE)):
        if inputs.get("width") == wanted.width and inputs.get("height") == wanted.height:
            inputs |= {"width": length, "height": length}
    for name in ("length", "frames_number"):
        if inputs.get(name) == small.frames:
            inputs[name] = frames_of(recipe)
    if inputs.get("steps") == recipe.settings.steps:
        inputs["steps"] = STEPS
    if inputs.get("t_i"):
        inputs["t_i"] = 1
    if "context_length" in inputs:
        inputs |= {"context_length": CONTEXT, "context_overlap": OVERLAP}


def frames_of(recipe: Recipe) -> int:
    """The fewest that make more than one latent frame, and more than one slice of context."""
    if recipe.prefix == "s2flow_h3":
        return H3_FRAMES
    long = recipe.prefix == "s2flow_long_clip"
    return LTX_FRAMES if long or recipe.prefix.startswith("s2flow_ltx") else FRAMES


def answered_sound(kind: str) -> tuple[Any, ...] | None:
    """Sound is decoded by VAEs that have no tiny form; an empty latent of it needs one too."""
    if kind in ("LTXVAudioVAEDecode", "VAEDecodeAudio"):
        return ({"waveform": torch.zeros(1, 2, 800), "sample_rate": 8000},)
    if kind == "LTXVAudioVAELoader":
        return (None,)
    if kind == "LTXVEmptyLatentAudio":
        from tiny_ltx2 import SOUND

        return ({"samples": torch.zeros(1, *SOUND), "sample_rate": 8000, "type": "audio"},)
    return None
