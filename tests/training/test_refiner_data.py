"""What the Refiner is trained on: sizes, degradations, and videos that must not stop a training."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo.clips.scenes import draw_scene, render
from demo.run_demo.video_files import write_frames
from s2flow_core.transition.flow_map import reference_signal
from training.refiner.__main__ import parse_arguments, stage_list
from training.refiner.data.buckets import UNIT, bucket_size, fit_bucket
from training.refiner.data.captions import NoText, caption_of
from training.refiner.data.degradation import PixelDegradation, blurred, compressed, degrade_pixels
from training.refiner.data.pair_cache import Pair, PairCache
from training.refiner.data.pairs import PairSettings, Video, encode_videos, find_videos
from training.refiner.data.videos import (
    ClipRules,
    SkippedVideos,
    Unusable,
    laplacian_variance,
    list_videos,
    read_clip,
    usable_clips,
)
from training.refiner.demo.training import DEMO_MAPPING
from training.refiner.loss import FlowMapping, draw_sigmas, flow_mapping_loss
from training.refiner.video_training import mapping_of

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
    groups = PairCache(tmp_path).groups(["a", "b", "c", "d"])
    assert sorted(len(group) for group in groups) == [1, 2]
    high, low, context = cache.batch(groups[0], frames=2)
    assert high.shape == low.shape == (2, 16, 2, 8, 8)
    assert context.shape == (2, 1, 8)


def test_texts_of_a_batch_are_as_long_as_the_longest(tmp_path: Path):
    cache = PairCache(tmp_path)
    latent = torch.zeros(16, 1, 4, 4)
    for name, tokens in (("a", 2), ("b", 3)):
        cache.add(name, Pair(latent, latent, torch.ones(tokens, 8)))
    _, _, context = cache.batch([cache.path("a"), cache.path("b")])
    assert context.sum(dim=2).tolist() == [[8, 8, 0], [8, 8, 8]]
    cache.add_text("empty", torch.ones(1, 8))
    assert torch.equal(cache.text("empty"), torch.ones(1, 8))


def test_a_dropped_prompt_becomes_the_empty_one():
    """As the negative prompt of guidance: what the text encoder makes of no words, not zeros."""
    seen = []

    def model(state, time, text):
        seen.append(text)
        return state

    high = torch.zeros(64, 1, 1, 2, 2)
    context, empty = torch.ones(64, 2, 8), torch.full((3, 8), 5.0)
    settings = FlowMapping(drop_prompt=0.5)
    flow_mapping_loss(model, high, high, context, empty, settings, torch.Generator().manual_seed(0))
    sums = seen[0].sum(dim=(1, 2))  # 2 tokens of ones and one of zeros, or 3 of fives
    assert set(sums.tolist()) == {16.0, 120.0}
    assert 16 < int((sums == 120).sum()) < 48


def test_the_exact_velocity_has_no_loss_and_no_velocity_has_that_of_the_path():
    high, low = torch.randn(2, 4, 16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    context, empty = torch.zeros(4, 1, 8), torch.zeros(1, 8)
    clean = FlowMapping(noise_share=0.0)

    def loss(model, settings=clean):
        return flow_mapping_loss(model, high, low, context, empty, settings, torch.Generator().manual_seed(1))

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
    context, empty = torch.zeros(64, 1, 8), torch.zeros(1, 8)
    generator = torch.Generator().manual_seed(0)
    flow_mapping_loss(model, torch.zeros_like(low), low, context, empty, settings, generator)
    assert seen[0].max() <= reference_signal(600) + 0.1
    assert seen[0].min() >= reference_signal(900) - 0.1
    assert seen[0].max() - seen[0].min() > 0.2


def test_sigmas_are_the_shifted_logit_normal():
    sigmas = draw_sigmas(20_000, 5.0, torch.Generator().manual_seed(0))
    # The shift is a Möbius map, monotone, so the median 0.5 of LogitNormal(0, 1) goes to 5/6.
    assert sigmas.median() == pytest.approx(5 / 6, abs=0.01)
    assert ((sigmas > 0) & (sigmas < 1)).all()


BAD_OPTIONS = {
    "--out x.safetensors --vae {file}": "give --demo, or --videos FOLDER",
    "--videos {folder} --out x.safetensors": "--videos needs --vae FILE",
    "--videos {folder}/no --out x.safetensors --vae {file}": "there is no folder",
    "--videos {folder} --out x.safetensors --vae {folder}/no": "there is no file .*, which --vae names",
    "--videos {folder} --out x.safetensors --vae {file} --clip {folder}/no": "which --clip names",
    "--videos {folder} --out x.safetensors --vae {file} --model {folder}/no": "which --model names",
    "--videos {folder} --out x --vae {file}": "must end in .safetensors",
    "--demo --out x": "must end in .safetensors",
    "--videos {folder} --out x.safetensors --vae {file} --lora 4": "--lora needs --model",
    "--videos {folder} --out x.safetensors --vae {file} --dim 100": "a multiple of 128",
    "--videos {folder} --out x.safetensors --vae {file} --scale 1": "must be above 1",
    "--videos {folder} --out x.safetensors --vae {file} --noise-levels 0.9 0.6": "must not exceed",
    "--videos {folder} --out x.safetensors --vae {file} --noise-share 2": "between 0 and 1",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_wrong_options_are_answered_with_a_sentence(tmp_path: Path, capsys, options: str):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        parse_arguments(options.format(folder=tmp_path, file=tmp_path / "file").split())
    assert re.search(BAD_OPTIONS[options], capsys.readouterr().err)


def test_a_training_on_videos_is_that_of_the_shipped_refiner_and_the_papers_can_be_chosen(tmp_path: Path):
    (tmp_path / "file").touch()
    given = f"--videos {tmp_path} --out x.safetensors --vae {tmp_path / 'file'}".split()
    shipped = FlowMapping(5.0, noise_levels=(0.6, 0.9), noise_share=0.25, drop_prompt=0.1, relative=True)
    assert mapping_of(parse_arguments(given)) == shipped
    paper = ["--noise-share", "1", "--no-relative"]
    assert mapping_of(parse_arguments(given + paper)) == FlowMapping()
    chosen = ["--noise-share", "0.5", "--noise-levels", "0.65", "0.75", "--drop-prompt", "0.2"]
    assert mapping_of(parse_arguments(given + chosen)) == FlowMapping(5.0, (0.65, 0.75), 0.5, 0.2, True)
    assert (DEMO_MAPPING.noise_share, DEMO_MAPPING.relative) == (0.25, True)


def test_stages_are_read_and_wrong_frame_counts_refused():
    assert stage_list("21:1000,81:4000") == [(21, 1000), (81, 4000)]
    with pytest.raises(Exception, match="must be 4n"):
        stage_list("20:10")
