"""What the Refiner is trained on: sizes, degradations, and videos that must not stop a training."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo.clips import draw_scene, render
from demo.video_files import write_frames
from refiner.buckets import UNIT, bucket_size, fit_bucket
from refiner.captions import caption_of
from refiner.degradation import PixelDegradation, blurred, compressed, degrade_pixels
from refiner.flow_mapping import FlowMapping, draw_sigmas, flow_mapping_loss
from refiner.pair_cache import Pair, PairCache
from refiner.train import stage_list
from refiner.videos import (
    ClipRules,
    SkippedVideos,
    Unusable,
    laplacian_variance,
    list_videos,
    read_clip,
    usable_clips,
)
from s2flow_core.flow_map import reference_signal

CLIP = render(draw_scene(3), size=64, frames=9)


@given(st.integers(32, 3000), st.integers(32, 3000), st.sampled_from([256**2, 1280 * 720]))
def test_a_bucket_is_whole_units_and_never_enlarges(width: int, height: int, area: int):
    tall, wide = bucket_size(width, height, area)
    assert tall % UNIT == wide % UNIT == 0
    assert tall <= height and wide <= width
    assert tall * wide <= area or UNIT in (tall, wide)


def test_published_sizes_stay_what_they_are():
    assert bucket_size(1280, 720, 1280 * 720) == (704, 1280)  # 720 is no multiple of 32
    assert bucket_size(960, 960, 960 * 960) == (960, 960)
    with pytest.raises(ValueError, match="20×400 pixels"):
        bucket_size(20, 400, 10**6)


def test_fit_bucket_crops_the_middle():
    frames = torch.zeros(1, 40, 100, 3)
    frames[:, :, 30:70] = 1
    fitted = fit_bucket(frames, (40, 40))
    assert fitted.shape == (1, 40, 40, 3)
    assert fitted.min() > 0.99


def test_degradation_follows_from_its_seed_and_loses_detail():
    settings = PixelDegradation(chance=1.0)
    results = [
        degrade_pixels(CLIP, (32, 32), settings, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert results[0].shape == (9, 32, 32, 3)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert all(float(result.min()) >= 0 and float(result.max()) <= 1 for result in results)


def test_blur_keeps_the_mean_and_takes_the_edges():
    soft = blurred(CLIP, 1.5)
    assert soft.mean() == pytest.approx(float(CLIP.mean()), abs=0.01)
    assert laplacian_variance(soft.mean(-1)) < 0.3 * laplacian_variance(CLIP.mean(-1))


def test_compression_is_worse_at_lower_quality():
    errors = [float((compressed(CLIP, quality) - CLIP).square().mean()) for quality in (20, 60, 95)]
    assert errors[0] > errors[1] > errors[2] > 0


def video(path: Path, frames: torch.Tensor, rate: int = 16) -> None:
    pictures = [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames]
    write_frames(path, pictures, Fraction(rate))


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


RULES = ClipRules(least_frames=5, most_frames=9)


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


@pytest.mark.parametrize("kind", [kind for kind in UNUSABLE if kind != "caption"])
def test_nothing_in_a_folder_stops_the_reading(tmp_path: Path, kind: str):
    """Two unusable files of one name in two folders, beside a good one."""
    make, reason = UNUSABLE[kind]
    for below in ("one", "two"):
        (tmp_path / below).mkdir()
        make(tmp_path / below / "clip.mp4")
    video(tmp_path / "good.mp4", CLIP)
    skipped = SkippedVideos(tmp_path)
    used = [path.name for path, _ in usable_clips(list_videos(tmp_path), RULES, skipped)]
    assert used == ["good.mp4"]
    assert skipped.reasons.keys() == {"one/clip.mp4", "two/clip.mp4"}
    assert all(str(tmp_path) not in str(why) for why in skipped.reasons.values())
    assert skipped.summary() == f"2 videos skipped: 2 × {reason}"


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


def test_a_caption_lies_beside_its_clip(tmp_path: Path):
    (tmp_path / "clip.txt").write_bytes("\ufeffa red circle\n".encode())
    assert caption_of(tmp_path / "clip.mp4") == "a red circle"
    assert caption_of(tmp_path / "other.mp4") == ""


def test_a_faster_video_loses_frames_to_the_training_rate(folder: Path):
    frames = read_clip(folder / "fast.mp4", RULES)
    assert frames.shape == (9, 64, 64, 3)
    assert (frames - CLIP).abs().mean() < 0.03


def test_frame_counts_are_cut_to_what_the_vae_takes(folder: Path):
    assert len(read_clip(folder / "good.mp4", ClipRules(least_frames=5, most_frames=8))) == 5


def test_pairs_are_grouped_by_shape_and_a_damaged_one_is_dropped(tmp_path: Path):
    cache = PairCache(tmp_path)
    for name, side in (("a", 8), ("b", 8), ("c", 4)):
        latent = torch.full((16, 3, side, side), 0.5)
        cache.add(name, Pair(latent, latent, torch.zeros(1, 8)))
    (tmp_path / "d.safetensors").write_bytes(b"half a file")
    groups = PairCache(tmp_path).groups()
    assert sorted(len(group) for group in groups) == [1, 2]
    high, low, context = cache.batch(groups[0], frames=2)
    assert high.shape == low.shape == (2, 16, 2, 8, 8)
    assert context.shape == (2, 1, 8)


def test_the_exact_velocity_has_no_loss_and_no_velocity_has_that_of_the_path():
    high, low = torch.randn(2, 4, 16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    context = torch.zeros(4, 1, 8)
    clean = FlowMapping(noise_share=0.0)

    def loss(model, settings=clean):
        return flow_mapping_loss(model, high, low, context, settings, torch.Generator().manual_seed(1))

    assert loss(lambda state, time, text: low - high).max() < 1e-10
    still = loss(lambda state, time, text: torch.zeros_like(state))
    torch.testing.assert_close(still, (low - high).square().mean(dim=(1, 2, 3, 4)))
    relative = FlowMapping(noise_share=0.0, relative=True)
    torch.testing.assert_close(
        loss(lambda state, time, text: torch.zeros_like(state), relative), torch.ones(4)
    )


def test_latent_noise_lies_between_the_reference_steps():
    """At σ = 1 the state is the degraded small latent, whose share of signal tells the reference step."""
    seen = []
    low = torch.ones(64, 1, 1, 64, 64)

    def model(state, time, text):
        mix = (time / 1000).view(-1, 1, 1, 1, 1)
        seen.append((state / mix).mean(dim=(1, 2, 3, 4)))  # high is 0
        return state

    settings = FlowMapping(noise_levels=(0.6, 0.9), noise_share=1.0)
    flow_mapping_loss(
        model, torch.zeros_like(low), low, torch.zeros(64, 1, 8), settings, torch.Generator().manual_seed(0)
    )
    assert seen[0].max() <= reference_signal(600) + 0.1
    assert seen[0].min() >= reference_signal(900) - 0.1
    assert seen[0].max() - seen[0].min() > 0.2


def test_sigmas_are_the_shifted_logit_normal():
    sigmas = draw_sigmas(20_000, 5.0, torch.Generator().manual_seed(0))
    # The shift is a Möbius map, monotone, so the median 0.5 of LogitNormal(0, 1) goes to 5/6.
    assert sigmas.median() == pytest.approx(5 / 6, abs=0.01)
    assert ((sigmas > 0) & (sigmas < 1)).all()


def test_stages_are_read_and_wrong_frame_counts_refused():
    assert stage_list("21:1000,81:4000") == [(21, 1000), (81, 4000)]
    with pytest.raises(Exception, match="must be 4n"):
        stage_list("20:10")
