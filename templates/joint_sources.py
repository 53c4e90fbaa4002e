"""Loaders and guiders of the models that read text and picture together: HunyuanVideo, LTX, MiniMax H3."""

from __future__ import annotations

from templates.canvas import Canvas
from templates.files import links
from templates.recipe import Recipe, Source
from templates.sources import (
    NEGATIVE,
    begin,
    clip,
    empty,
    guided,
    prompts,
    schedule,
    settings_frame,
    shifted,
    two_clips,
    unet,
    vae,
)


def hunyuan(canvas: Canvas, recipe: Recipe) -> Source:
    """HunyuanVideo, distilled for guidance: no negative prompt, and cfg is its embedded guidance."""
    begin(canvas)
    model = unet(canvas, recipe.files[0])
    encoder = two_clips(canvas, (recipe.files[1], recipe.files[2]), "hunyuan_video")
    decoder = vae(canvas, recipe.files[3])
    latent = empty(canvas, "EmptyHunyuanLatentVideo", recipe)
    settings_frame(canvas)
    text = canvas.add("CLIPTextEncode", "Prompt", clip=encoder, text=recipe.prompt).out()
    text = canvas.add("FluxGuidance", conditioning=text, guidance=recipe.settings.cfg).out()
    model = shifted(canvas, model, recipe)
    guider = canvas.add("BasicGuider", model=model, conditioning=text).out()
    return Source((guider,), (guider,), schedule(canvas, model, recipe), latent, decoder, tiled=True)


def hunyuan15(canvas: Canvas, recipe: Recipe) -> Source:
    """HunyuanVideo 1.5, with a negative prompt and a VAE of 16 pixels a cell."""
    begin(canvas)
    model = unet(canvas, recipe.files[0])
    encoder = two_clips(canvas, (recipe.files[1], recipe.files[2]), "hunyuan_video_15")
    decoder = vae(canvas, recipe.files[3])
    latent = empty(canvas, "EmptyHunyuanVideo15Latent", recipe)
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, "")
    canvas.column()
    model = shifted(canvas, model, recipe)
    guider = guided(canvas, model, texts, recipe)
    return Source((guider,), (guider,), schedule(canvas, model, recipe), latent, decoder, tiled=True)


def ltx(canvas: Canvas, recipe: Recipe) -> Source:
    """LTX-Video: model and VAE in one checkpoint, and a schedule that depends on the size."""
    begin(canvas)
    name = recipe.files[0]
    checkpoint = canvas.add("CheckpointLoaderSimple", None, links(name), ckpt_name=name)
    encoder = clip(canvas, recipe.files[1], "ltxv")
    latent = empty(canvas, "EmptyLTXVLatentVideo", recipe)
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, NEGATIVE["ltx"])
    canvas.column()
    given = {"positive": texts[0], "negative": texts[1], "frame_rate": recipe.settings.fps}
    rated = canvas.add("LTXVConditioning", **given)
    guider = guided(canvas, checkpoint.out(), (rated.out(0), rated.out(1)), recipe)
    sigmas = canvas.add("LTXVScheduler", steps=recipe.settings.steps, latent=latent).out()
    return Source((guider,), (guider,), sigmas, latent, checkpoint.out(2), tiled=True)


def ltx2(canvas: Canvas, recipe: Recipe) -> Source:
    """LTX-2: picture and sound in one latent."""
    begin(canvas)
    name, text = recipe.files
    checkpoint = canvas.add("CheckpointLoaderSimple", None, links(name), ckpt_name=name)
    given = {"text_encoder": text, "ckpt_name": name}
    encoder = canvas.add("LTXAVTextEncoderLoader", None, links(name, text), **given).out()
    sound_vae = canvas.add("LTXVAudioVAELoader", None, links(name), ckpt_name=name).out()
    picture = empty(canvas, "EmptyLTXVLatentVideo", recipe)
    given = {"frames_number": recipe.settings.size.frames, "frame_rate": int(recipe.settings.fps)}
    sound = canvas.add("LTXVEmptyLatentAudio", **given, audio_vae=sound_vae).out()
    latent = canvas.add("LTXVConcatAVLatent", video_latent=picture, audio_latent=sound).out()
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, NEGATIVE["ltx"])
    canvas.column()
    given = {"positive": texts[0], "negative": texts[1], "frame_rate": recipe.settings.fps}
    rated = canvas.add("LTXVConditioning", **given)
    guider = guided(canvas, checkpoint.out(), (rated.out(0), rated.out(1)), recipe)
    sigmas = canvas.add("LTXVScheduler", steps=recipe.settings.steps, latent=latent).out()
    return Source((guider,), (guider,), sigmas, latent, checkpoint.out(2), sound_vae, tiled=True)


def minimax_h3(canvas: Canvas, recipe: Recipe) -> Source:
    """MiniMax H3: picture and sound in one latent; its prompt node makes both prompt and latent."""
    begin(canvas)
    model = unet(canvas, recipe.files[0])
    encoder = clip(canvas, recipe.files[1], "minimax")
    decoder, sound_vae = vae(canvas, recipe.files[2]), vae(canvas, recipe.files[3])
    settings_frame(canvas)
    size = recipe.settings.size
    given = {"width": size.width, "height": size.height, "length": size.frames, "prompt": recipe.prompt}
    start = canvas.add("MiniMaxH3ImageToVideo", "Prompt and size", clip=encoder, vae=decoder, **given)
    guider = canvas.add("BasicGuider", model=model, conditioning=start.out(0)).out()
    sigmas = schedule(canvas, model, recipe)
    return Source((guider,), (guider,), sigmas, start.out(1), decoder, sound_vae)
