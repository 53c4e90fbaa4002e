"""Videos that cannot be trained on are skipped by name, and never stop a training."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from written_videos import CLIP, RULES, video

from training.refiner.data.degradation import blurred
from training.refiner.data.videos import (
    ClipRules,
    SkippedVideos,
    Unusable,
    list_videos,
    read_clip,
    usable_clips,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Good, long, fast, short, dark, soft, cut off and no video at all."""
    path = tmp_path_factory.mktemp("videos")
    video(path / "good.mp4", CLIP)
    video(path / "fast.mp4", CLIP.repeat_interleave(2, 0), rate=32)
    video(path / "short.mp4", CLIP[:3])
    video(path / "dark.mp4", CLIP * 0.05)
    video(path / "soft.mp4", blurred(CLIP, 4.0))
    (path / "cut.mp4").write_bytes((path / "good.mp4").read_bytes()[:500])
    (path / "empty.mkv").write_bytes(b"")
    (path / "notes.txt").write_text("no video")
    (path / "below").mkdir()
    video(path / "below" / "deep.mp4", CLIP)
    return path


def test_unusable_videos_are_skipped_by_name_and_counted(folder: Path):
    skipped = SkippedVideos(folder)
    used = [path.name for path, _ in usable_clips(list_videos(folder), RULES, skipped)]
    assert used == ["deep.mp4", "fast.mp4", "good.mp4"]
    reasons = {name: str(reason) for name, reason in skipped.reasons.items()}
    assert reasons.keys() == {"short.mp4", "dark.mp4", "soft.mp4", "cut.mp4", "empty.mkv"}
    assert reasons["short.mp4"] == "too short (3 of 5 frames at 16 per second)"
    assert reasons["dark.mp4"].startswith("too dark (mean 0.0")
    assert reasons["soft.mp4"].startswith("too soft (Laplacian variance")
    assert (
        reasons["cut.mp4"]
        == reasons["empty.mkv"]
        == "cannot be read (Invalid data found when processing input)"
    )
    assert (
        skipped.summary() == "5 videos skipped: 2 × cannot be read; 1 × too dark; 1 × too short; 1 × too soft"
    )


def test_a_decoder_may_raise_anything(folder: Path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no such pixel format")

    monkeypatch.setattr(av, "open", fails)
    with pytest.raises(Unusable, match=r"cannot be read \(no such pixel format\)"):
        read_clip(folder / "good.mp4", RULES)


def test_one_skipped_video_is_one_video(tmp_path: Path):
    skipped = SkippedVideos(tmp_path)
    skipped.add(tmp_path / "a.mp4", Unusable("too short"))
    assert skipped.summary() == "1 video skipped: 1 × too short"


def test_a_faster_video_loses_frames_to_the_training_rate(folder: Path):
    frames = read_clip(folder / "fast.mp4", RULES)
    assert frames.shape == (9, 64, 64, 3)
    assert (frames - CLIP).abs().mean() < 0.03


def test_frame_counts_are_cut_to_what_the_vae_takes(folder: Path):
    assert len(read_clip(folder / "good.mp4", ClipRules(least_frames=5, most_frames=8))) == 5
