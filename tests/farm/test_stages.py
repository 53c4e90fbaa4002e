"""The cut of a workflow into a preview and a large video, and the keys of both."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from comfyui_runner.installation import ROOT
from farm.clips import Clip
from farm.jobs import LARGE, PREVIEW, jobs_of, picked_jobs
from farm.keys import InputFiles, key_of, sampled_digest
from farm.refusal import Refusal
from farm.stages import cut


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


PROMPT: dict[str, Any] = {
    "1": node("UNETLoader", unet_name="model.safetensors"),
    "2": node("VAELoader", vae_name="vae.safetensors"),
    "3": node("CFGGuider", model=["1", 0], cfg=4.0),
    "4": node("EmptyHunyuanLatentVideo", batch_size=1, width=128),
    "5": node("RandomNoise", noise_seed=7),
    "6": node("S2FlowLowResSampler", guider=["3", 0], latent_image=["4", 0], noise=["5", 0]),
    "7": node("VAEDecode", samples=["6", 0], vae=["2", 0]),
    "8": node("SaveVideo", video=["7", 0], filename_prefix="preview"),
    "9": node("S2FlowUpsample", trajectory=["6", 1], vae=["2", 0], t_i=["10", 0]),
    "10": node("PrimitiveInt", value=12),
    "11": node("S2FlowHighResSampler", guider=["3", 0], latent_image=["9", 0], trajectory=["6", 1]),
    "12": node("S2FlowPreviewGate", result=["13", 0], go=False),
    "13": node("VAEDecode", samples=["11", 0], vae=["2", 0]),
    "14": node("SaveVideo", video=["12", 0], filename_prefix="large"),
}


def changed(key: str, **inputs: Any) -> dict[str, Any]:
    prompt = copy.deepcopy(PROMPT)
    prompt[key]["inputs"] |= inputs
    return prompt


def no_file(value: str) -> None:
    return None


def test_the_preview_is_what_does_not_need_the_expensive_part():
    stages = cut(PROMPT)
    assert set(stages.preview) == {"1", "2", "3", "4", "5", "6", "7", "8", "15"}
    assert stages.preview["15"]["class_type"] == "S2FlowSaveTrajectory"
    assert stages.preview["15"]["inputs"]["trajectory"] == ["6", 1]


def test_the_large_video_starts_from_a_saved_trajectory_with_open_gates():
    stages = cut(PROMPT)
    assert set(stages.large) == {"1", "2", "3", "6", "9", "10", "11", "12", "13", "14"}
    assert stages.large[stages.low]["class_type"] == "S2FlowLoadTrajectory"
    assert stages.large["12"]["inputs"]["go"] is True
    assert PROMPT["12"]["inputs"]["go"] is False and PROMPT["6"]["class_type"] == "S2FlowLowResSampler"


def test_a_reshift_before_the_small_run_belongs_to_the_preview():
    prompt = changed("6", latent_image=["20", 0]) | {"20": node("S2FlowNoiseReshift", latent=["4", 0])}
    assert "20" in cut(prompt).preview


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({key: value for key, value in PROMPT.items() if key != "6"}, "no S²Flow Low-Res Sampler"),
        (PROMPT | {"16": PROMPT["6"]}, r"2 Low-Res Samplers: #6 .*, #16"),
        (changed("4", batch_size=4), r"batch_size of #4 .* is 4. Set it to 1"),
        ({key: value for key, value in PROMPT.items() if key != "8" and key != "7"}, "shows no preview"),
        ({key: PROMPT[key] for key in "12345678"}, "makes no large video"),
        (PROMPT | {"8": node("PreviewImage", images=["7", 0])}, "saves no preview.* Add Save Video"),
        (PROMPT | {"14": node("PreviewImage", images=["12", 0])}, "saves no large video.* Add Save Video"),
        (
            PROMPT | {"14": node("S2FlowSaveTrajectory", trajectory=["11", 1], filename_prefix="t")},
            "saves no large video",
        ),
        (changed("8", save=False), "saves no preview"),
        (changed("14", save_output=False), "saves no large video"),
        (changed("8", filename_prefix=["5", 0]), r"filename_prefix of #8 \(SaveVideo\) comes by a link"),
        (changed("14", filename_prefix=["5", 0]), r"filename_prefix of #14 \(SaveVideo\) comes by a link"),
        ({key: value for key, value in PROMPT.items() if key != "1"}, "link from node #1, which is missing"),
    ],
)
def test_what_cannot_be_cut_is_told_in_a_sentence(prompt: dict[str, Any], said: str):
    with pytest.raises(Refusal, match=said):
        cut(prompt)


def test_nodes_that_only_preview_may_stand_beside_those_that_save():
    more = {"20": node("PreviewImage", images=["7", 0]), "21": node("PreviewImage", images=["13", 0])}
    stages = cut(PROMPT | more)
    assert {"8", "20"} < stages.preview.keys() and {"14", "21"} < stages.large.keys()


def keys(prompt: dict[str, Any]) -> tuple[str, str]:
    preview, large = jobs_of([Clip({}, prompt)], no_file)
    assert (preview.stage, large.stage, large.needs) == (PREVIEW, LARGE, preview.key)
    return preview.key, large.key


@pytest.mark.parametrize(
    ("prompt", "same_preview", "same_large"),
    [
        (changed("8", filename_prefix="other"), True, True),
        (changed("14", filename_prefix="other"), True, True),
        (changed("12", go=True), True, True),
        (changed("10", value=20), True, False),
        (changed("5", noise_seed=8), False, False),
        (changed("3", cfg=5.0), False, False),
        ({key: value | {"_meta": {"title": "t"}} for key, value in PROMPT.items()}, True, True),
        (dict(reversed(PROMPT.items())), True, True),
    ],
)
def test_keys_follow_what_is_made(prompt, same_preview: bool, same_large: bool):
    before, after = keys(PROMPT), keys(prompt)
    assert [one == other for one, other in zip(before, after)] == [same_preview, same_large]


def test_clips_that_differ_in_the_large_part_share_their_preview():
    jobs = jobs_of([Clip({"t": value}, changed("10", value=value)) for value in (10, 20, 20)], no_file)
    assert [job.stage for job in jobs] == [PREVIEW, LARGE, LARGE]
    assert picked_jobs(jobs, {jobs[0].key}) == jobs[1:]
    assert picked_jobs(jobs, set()) == []


def test_input_files_count_by_content(tmp_path):
    prompt = {"1": node("LoadImage", image="start.png"), "2": node("LoadImage", image="start.png [input]")}
    seen = set()
    for content in (b"one", b"two", b"one"):
        (tmp_path / "start.png").write_bytes(content)
        seen.add(key_of(prompt, InputFiles(tmp_path).digest))
    assert len(seen) == 2
    assert key_of(prompt, InputFiles(None).digest) not in seen
    assert InputFiles(tmp_path).digest("a long prompt " * 1000) is None
    assert InputFiles(tmp_path).digest("") is None


@pytest.mark.parametrize("size", [0, 10, 1 << 20, 5_000_000])
def test_a_sampled_digest_tells_models_and_broken_copies_apart(tmp_path, size: int):
    model, other = tmp_path / "model", tmp_path / "other"
    model.write_bytes(b"a" * size)
    other.write_bytes(b"a" * size)
    assert sampled_digest(model) == sampled_digest(other)
    other.write_bytes(b"a" * (size + 1))
    assert sampled_digest(model) != sampled_digest(other)
    if size:
        other.write_bytes(b"a" * (size - 1) + b"b")
        assert sampled_digest(model) != sampled_digest(other)


def test_links_of_the_bundled_workflows_are_of_known_classes():
    """The classes at which the cut is made are those that the pack has."""
    from farm import stages

    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py"))
    for kind in {stages.LOW, stages.SAVE, stages.LOAD, *stages.LATE}:
        assert json.dumps(kind) in source
