"""From the small video to the large one, the same for every model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from templates.canvas import Canvas
from templates.node import Node, Output
from templates.recipe import Recipe, Source

GREEN, YELLOW, RED, BLUE = "#8A8", "#b58b2a", "#A88", "#3f789e"
SEED = 7


@dataclass(frozen=True)
class Video:
    """A finished run. record: its trajectory. frames: decoded."""

    record: Output
    frames: Output


@dataclass(frozen=True)
class Saved:
    """title: of the node that saves a video. prefix: of its file."""

    title: str
    prefix: str


@dataclass(frozen=True)
class Stage:
    """One enlargement: titles of its two frames, its video, and whether another one starts from it."""

    transition: str
    run: str
    saved: Saved
    record: bool = False


def two_pass(canvas: Canvas, recipe: Recipe) -> None:
    """The small run, the transition with both sliders, the large run; and again where the recipe says so."""
    source = recipe.source(canvas, recipe)
    settings = recipe.settings
    canvas.group("Low resolution", GREEN, narrow=True)
    seed = canvas.add("RandomNoise", noise_seed=SEED).out()
    given = {"noise": seed, "sigmas": source.sigmas, "latent_image": source.latent}
    run = canvas.add("S2FlowLowResSampler", **guiders(source.guiders), **given, **boundary(source, recipe))
    saved = Saved("Low-resolution preview", f"{recipe.prefix}_preview")
    small = Video(run.out("trajectory"), video(canvas, source, run, recipe, saved))

    if settings.t_i_again:
        saved = Saved("Twice the size", f"{recipe.prefix}_twice")
        first = Stage("First enlargement", saved.title, saved, record=True)
        between, _ = enlarged(canvas, source, recipe, small, first)
        saved = Saved("Four times the size", recipe.prefix)
        again = replace(recipe, settings=replace(settings, t_i=settings.t_i_again, t_i_again=0))
        second = Stage("Second enlargement", saved.title, saved)
        large, windows = enlarged(canvas, source, again, between, second)
    else:
        only = Stage("Transition", "High resolution", Saved("High-resolution video", recipe.prefix))
        large, windows = enlarged(canvas, source, recipe, small, only)

    canvas.group("What it brought", BLUE)
    looked_at = {"windows": windows, "frames": small.frames, "trajectory": small.record}
    canvas.add("S2FlowWindowPictures", **looked_at)
    canvas.add("S2FlowCompare", small=small.frames, large=large.frames, fps=settings.fps)


def enlarged(
    canvas: Canvas, source: Source, recipe: Recipe, small: Video, stage: Stage
) -> tuple[Video, Output]:
    """(the large video, its windows)."""
    settings = recipe.settings
    canvas.group(f"{stage.transition}: t_i and s", YELLOW)
    pixels = {"vae": source.vae} if source.enlarge_in_pixels else {}
    sliders = {"t_i": settings.t_i, "share": settings.share, "scale": settings.scale, "seed": SEED}
    start = canvas.add("S2FlowUpsample", trajectory=small.record, **pixels, **sliders)
    latent, left = start.out("latent"), start.out("sigmas")
    looked = {"latent": latent, "sigmas": left, "s": settings.s}
    windows = canvas.add("S2FlowWindowMask", trajectory=small.record, **looked)
    canvas.add("PreviewAny", "Windows report", source=windows.out("report"))

    canvas.group(stage.run, RED, narrow=True)
    along = {"noise": start.out("noise"), "sigmas": left, "latent_image": latent}
    along |= {"trajectory": small.record, "windows": windows.out("windows")}
    more = boundary(source, recipe) | {"record": stage.record}
    run = canvas.add("S2FlowHighResSampler", **guiders(source.large_guiders), **along, **more)
    frames = video(canvas, source, run, recipe, stage.saved)
    return Video(run.out("trajectory"), frames), windows.out("windows")


def boundary(source: Source, recipe: Recipe) -> dict[str, Any]:
    return {"boundary": recipe.settings.boundary} if len(source.guiders) > 1 else {}


def guiders(given: tuple[Output, ...]) -> dict[str, Output]:
    return dict(zip(("guider", "guider_low_noise"), given))


def video(canvas: Canvas, source: Source, sampler: Node, recipe: Recipe, saved: Saved) -> Output:
    """Decodes what a sampler gives, joins its sound and saves it; returns the frames."""
    picture, beside = sampler.out("latent"), {}
    if source.sound_vae is not None:
        beside, picture = sound(canvas, source, picture)
    kind = "VAEDecodeTiled" if source.tiled else "VAEDecode"
    frames = canvas.add(kind, samples=picture, vae=source.vae).out()
    made = canvas.add("CreateVideo", images=frames, fps=recipe.settings.fps, **beside).out()
    canvas.add("SaveVideo", saved.title, video=made, filename_prefix=saved.prefix)
    return frames


def sound(canvas: Canvas, source: Source, latent: Output) -> tuple[dict[str, Output], Output]:
    """(audio for the video, latent of the picture) of a latent that holds both."""
    assert source.sound_vae is not None
    if "LTXVAudioVAELoader" in {node.kind for node in canvas.nodes}:
        parts = canvas.add("LTXVSeparateAVLatent", av_latent=latent)
        given = {"samples": parts.out(1), "audio_vae": source.sound_vae}
        return {"audio": canvas.add("LTXVAudioVAEDecode", **given).out()}, parts.out(0)
    given = {"samples": latent, "vae": source.sound_vae}
    return {"audio": canvas.add("VAEDecodeAudio", **given).out()}, latent
