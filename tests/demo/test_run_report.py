"""What the demo shows while it runs and at its end, from recorded events and made-up videos."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from comfyui_runner.client import Event, Run, explain_refusal
from demo.run_demo.progress import RunProgress, titles_of
from demo.run_demo.report import report_lines
from demo.run_demo.side_by_side import write_side_by_side
from demo.run_demo.video_files import read_facts, read_frames, write_frames

PROMPT = {
    "1": {"class_type": "S2FlowLowResSampler", "inputs": {}, "_meta": {"title": "Small"}},
    "2": {"class_type": "S2FlowUpsample", "inputs": {}},
    "3": {"class_type": "S2FlowWindowMask", "inputs": {}},
    "4": {"class_type": "S2FlowHighResSampler", "inputs": {}},
    "5": {"class_type": "VAEDecode", "inputs": {}},
    "6": {"class_type": "VAEDecode", "inputs": {}},
}


def event(kind: str, time: float, **data: object) -> Event:
    return Event(kind, data, time)


def recorded_run() -> list[Event]:
    steps = [event("progress", 2.0 + i / 10, node="1", value=i, max=50) for i in range(1, 51)]
    return [
        event("execution_cached", 0.0, nodes=["3"]),
        event("executing", 2.0, node="1"),
        *steps,
        event("executing", 12.0, node="5"),
        event("executing", 13.5, node="2"),
        event("executing", 14.0, node="4"),
        event("progress", 15.0, node="4", value=1, max=30),
        event("executing", 44.0, node="6"),
        event("execution_success", 50.0, prompt_id="p"),
    ]


def make_video(path: Path, width: int, height: int, frames: int, color: tuple[int, int, int]) -> Path:
    write_frames(path, [Image.new("RGB", (width, height), color)] * frames, Fraction(12))
    return path


def test_report_says_what_was_made_and_what_it_took(tmp_path):
    shown = io.StringIO()
    progress = RunProgress(titles_of(PROMPT), shown)
    for item in recorded_run():
        progress.take(item)
    text = "Attention looks at 49.8% of the video; 50.0% was asked for."
    run = Run("p", recorded_run(), {"outputs": {"3": {"text": [text]}}})
    video = make_video(tmp_path / "v.mp4", 64, 32, 5, (255, 0, 0))
    assert report_lines(PROMPT, run, progress, {"Video": video}) == [
        f"Video  {video}  (64×32, 5 frames)",
        "Steps: 50 at low resolution, 30 at high resolution",
        "Attention density achieved: 49.8 %",
        "Seconds: low resolution 10.0, upsampling 0.5, high resolution 30.0, decoding 7.5",
    ]
    assert "Small: 10.0 s" in shown.getvalue()
    assert progress.cached == {"3"}


def test_report_says_what_is_missing(tmp_path):
    video = make_video(tmp_path / "v.mp4", 64, 32, 1, (255, 0, 0))
    lines = report_lines(PROMPT, Run("p", [], {}), RunProgress({}, io.StringIO()), {"Video": video})
    assert [line.count("not reported") for line in lines] == [0, 2, 1, 4]


def test_side_by_side_has_equal_heights_and_holds_the_shorter_video(tmp_path):
    small = make_video(tmp_path / "small.mp4", 64, 32, 3, (200, 0, 0))
    large = make_video(tmp_path / "large.mp4", 256, 128, 5, (0, 0, 200))
    both = tmp_path / "both.mp4"
    write_side_by_side(small, large, both)
    facts = read_facts(both)
    assert (facts.width, facts.frames, facts.rate) == (256 + 4 + 256, 5, Fraction(12))
    band = facts.height - 128
    for frame in read_frames(both):
        left = ImageStat.Stat(frame.crop((8, band + 8, 248, band + 120))).mean
        right = ImageStat.Stat(frame.crop((268, band + 8, 508, band + 120))).mean
        assert left == pytest.approx([200, 0, 0], abs=8)
        assert right == pytest.approx([0, 0, 200], abs=8)
        label = frame.crop((0, 0, facts.width, band)).convert("L").tobytes()
        assert max(label) > 150 > 60 > min(label)


def test_refusals_name_node_and_input():
    problem = {"message": "Value not in list", "details": "vae_name: 'x' not in []"}
    answer = {"error": {"message": "failed validation"}, "node_errors": {"1": {"errors": [problem]}}}
    expected = "Node 1 (Small): Value not in list: vae_name: 'x' not in []."
    assert explain_refusal(json.dumps(answer).encode(), PROMPT) == expected
    assert explain_refusal(b'{"error": {"message": "No outputs"}}', PROMPT) == "No outputs."
    assert "500 Internal" in explain_refusal(b"500 Internal Server Error", PROMPT)
