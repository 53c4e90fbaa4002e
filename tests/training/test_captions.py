"""A caption is the text file beside its clip."""

from __future__ import annotations

from pathlib import Path

from training.refiner.data.captions import caption_of


def test_a_caption_lies_beside_its_clip(tmp_path: Path):
    (tmp_path / "clip.txt").write_bytes("\ufeffa red circle\n".encode())
    assert caption_of(tmp_path / "clip.mp4") == "a red circle"
    assert caption_of(tmp_path / "other.mp4") == ""
