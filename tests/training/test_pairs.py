"""Nothing in a folder stops the encoding, and every setting has pairs of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
from written_videos import CLIP, RULES, video

from demo.clips.scenes import draw_scene, render
from training.refiner.data.captions import NoText
from training.refiner.data.degradation import PixelDegradation
from training.refiner.data.pair_cache import PairCache
from training.refiner.data.pairs import PairSettings, Video, encode_videos, find_videos
from training.refiner.data.videos import (
    SkippedVideos,
)


def cut_off(path: Path) -> None:
    video(path, CLIP)
    path.write_bytes(path.read_bytes()[:500])


def resized(path: Path) -> None:
    """One stream of pictures of two sizes."""
    parts = []
    for size in (64, 96):
        with av.open(str(path), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=16)
            stream.width = stream.height = size
            for frame in render(draw_scene(3), size=size, frames=9):
                pixels = (frame * 255).round().byte().numpy()
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 16000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def with_binary_caption(path: Path) -> None:
    video(path, CLIP)
    path.with_suffix(".txt").write_bytes(b"\xff\xfe\x00")


UNUSABLE = {
    "cut off": (cut_off, "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "dangling link": (lambda path: path.symlink_to("nowhere.mp4"), "cannot be read"),
    "link to itself": (lambda path: path.symlink_to(path.name), "cannot be read"),
    "folder": (Path.mkdir, "cannot be read"),
    "sound only": (sound_only, "has no picture"),
    "changing size": (resized, "changes its frame size"),
    "tiny": (lambda path: video(path, CLIP[:, :2, :16]), "too small"),
    "short": (lambda path: video(path, CLIP[:3]), "too short"),
    "bright": (lambda path: video(path, torch.ones_like(CLIP)), "too bright"),
    "caption": (with_binary_caption, "its caption is no UTF-8 text"),
}


class BoxCodec:
    """Means of 8×8 boxes instead of a VAE; 4n+1 frames become n+1."""

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        boxes = frames[::4].unfold(1, 8, 8).unfold(2, 8, 8).mean(dim=(-1, -2))  # (t, h, w, 3)
        return boxes.permute(3, 0, 1, 2)[None]

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = latent[0].permute(1, 2, 3, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
        return frames.repeat_interleave(4, 0)[3:]


SETTINGS = PairSettings(area=64 * 64, scale=2.0, vae="vae", text="no text", rules=RULES)


def encoded(
    folder: Path, cache: PairCache, settings: PairSettings = SETTINGS
) -> tuple[list[str], SkippedVideos]:
    skipped = SkippedVideos(folder)
    videos = find_videos(folder, skipped, captions=True)
    return encode_videos(videos, settings, 1, BoxCodec, NoText(), cache, skipped), skipped


@pytest.mark.parametrize("kind", UNUSABLE)
def test_nothing_in_a_folder_stops_the_encoding(tmp_path: Path, kind: str):
    """Two unusable files of one name in two folders, beside a good one."""
    make, reason = UNUSABLE[kind]
    folder = tmp_path / "videos"
    for below in ("one", "two"):
        (folder / below).mkdir(parents=True)
        make(folder / below / "clip.mp4")
    video(folder / "good.mp4", CLIP)
    names, skipped = encoded(folder, PairCache(tmp_path / "pairs"))
    assert len(names) == 1
    assert skipped.reasons.keys() == {"one/clip.mp4", "two/clip.mp4"}
    assert all(str(tmp_path) not in str(why) for why in skipped.reasons.values())
    assert skipped.summary() == f"2 videos skipped: 2 × {reason}"


CHANGES = {
    "size": replace(SETTINGS, area=32 * 32),
    "scale": replace(SETTINGS, scale=4.0),
    "vae": replace(SETTINGS, vae="another"),
    "text encoder": replace(SETTINGS, text="another"),
    "frames": replace(SETTINGS, rules=replace(RULES, most_frames=5)),
    "degradation": replace(SETTINGS, degradation=PixelDegradation(chance=1.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_with_other_settings_trains_on_its_own_pairs(tmp_path: Path, change: str):
    folder = tmp_path / "videos"
    folder.mkdir()
    video(folder / "good.mp4", CLIP)
    cache = PairCache(tmp_path / "pairs")
    before, _ = encoded(folder, cache)
    after, _ = encoded(folder, cache, CHANGES[change])
    again, _ = encoded(folder, cache)
    assert before == again and len(before) == len(after) == 1
    assert len(list(cache.folder.glob("*.safetensors"))) == 2
    assert cache.groups(after) == [[cache.path(after[0])]]


def test_a_pair_is_named_after_its_file_its_place_and_its_caption(tmp_path: Path):
    def facts() -> dict[str, str]:
        return {
            found.name: found.facts for found in find_videos(tmp_path, SkippedVideos(tmp_path), captions=True)
        }

    for below in ("one", "two"):
        (tmp_path / below).mkdir()
        (tmp_path / below / "clip.mp4").write_bytes(b"same")
        os.utime(tmp_path / below / "clip.mp4", (1, 1))
    first = facts()
    assert first["one/clip.mp4"] != first["two/clip.mp4"]
    assert facts() == first
    (tmp_path / "one" / "clip.txt").write_text("a caption")
    captioned = facts()
    assert captioned["one/clip.mp4"] != first["one/clip.mp4"]
    assert captioned["two/clip.mp4"] == first["two/clip.mp4"]
    (tmp_path / "two" / "clip.mp4").write_bytes(b"edit")  # of the same length
    assert facts()["two/clip.mp4"] != first["two/clip.mp4"]
    settings = [Video(tmp_path, "clip.mp4", "", "facts").pair_name(SETTINGS, variant) for variant in (0, 1)]
    assert settings[0] != settings[1]
