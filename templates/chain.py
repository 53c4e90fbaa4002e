"""From the small video to the large one, the same for every model."""

from __future__ import annotations

from templates.canvas import Canvas
from templates.node import Node, Output
from templates.recipe import Recipe, Source

GREEN, YELLOW, RED, BLUE = "#8A8", "#b58b2a", "#A88", "#3f789e"
SEED = 7


def two_pass(canvas: Canvas, recipe: Recipe) -> None:
    """The small run, the transition with both sliders, and the large run."""
    source = recipe.source(canvas, recipe)
    settings = recipe.settings
    more = {"boundary": settings.boundary} if len(source.guiders) > 1 else {}
    canvas.group("Low resolution", GREEN, narrow=True)
    seed = canvas.add("RandomNoise", noise_seed=SEED).out()
    given = {"noise": seed, "sigmas": source.sigmas, "latent_image": source.latent}
    small = canvas.add("S2FlowLowResSampler", **guiders(source.guiders), **given, **more)
    before = video(canvas, source, small, recipe, "Low-resolution preview", f"{recipe.prefix}_preview")

    canvas.group("Transition: t_i and s", YELLOW)
    record = small.out("trajectory")
    pixels = {"vae": source.vae} if source.enlarge_in_pixels else {}
    given = {"t_i": settings.t_i, "share": settings.share, "scale": settings.scale, "seed": SEED}
    start = canvas.add("S2FlowUpsample", trajectory=record, **pixels, **given)
    latent = start.out("latent")
    left = start.out("sigmas")
    given = {"latent": latent, "sigmas": left, "s": settings.s}
    windows = canvas.add("S2FlowWindowMask", trajectory=record, **given)
    canvas.add("PreviewAny", "Windows report", source=windows.out("report"))

    canvas.group("High resolution", RED, narrow=True)
    given = {"noise": start.out("noise"), "sigmas": left, "latent_image": latent}
    along = {"trajectory": record, "windows": windows.out("windows")}
    large = canvas.add("S2FlowHighResSampler", **guiders(source.large_guiders), **given, **along, **more)
    after = video(canvas, source, large, recipe, "High-resolution video", recipe.prefix)

    canvas.group("What it brought", BLUE)
    looked_at = {"windows": along["windows"], "frames": before, "trajectory": record}
    canvas.add("S2FlowWindowPictures", **looked_at)
    canvas.add("S2FlowCompare", small=before, large=after, fps=recipe.settings.fps)


def guiders(given: tuple[Output, ...]) -> dict[str, Output]:
    return dict(zip(("guider", "guider_low_noise"), given))


def video(canvas: Canvas, source: Source, sampler: Node, recipe: Recipe, title: str, prefix: str) -> Output:
    """Decodes what a sampler gives, joins its sound and saves it; returns the frames."""
    picture, beside = sampler.out("latent"), {}
    if source.sound_vae is not None:
        beside, picture = sound(canvas, source, picture)
    kind = "VAEDecodeTiled" if source.tiled else "VAEDecode"
    frames = canvas.add(kind, samples=picture, vae=source.vae).out()
    made = canvas.add("CreateVideo", images=frames, fps=recipe.settings.fps, **beside).out()
    canvas.add("SaveVideo", title, video=made, filename_prefix=prefix)
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
