"""Loaders, prompts and guiders of each kind of model, as core's own templates have them."""

from __future__ import annotations

import json
from pathlib import Path

from templates.canvas import Canvas
from templates.files import links
from templates.node import Node, Output
from templates.recipe import Recipe, Source

# Those of core's templates; Wan was trained with its own.
NEGATIVE = json.loads((Path(__file__).parent / "negative_prompts.json").read_text(encoding="utf-8"))
BLUE = "#3f789e"
SEED = 7


def begin(canvas: Canvas) -> None:
    canvas.group("Model", BLUE)


def unet(canvas: Canvas, name: str, weights: str = "default") -> Output:
    return canvas.add("UNETLoader", None, links(name), unet_name=name, weight_dtype=weights).out()


def vae(canvas: Canvas, name: str) -> Output:
    return canvas.add("VAELoader", None, links(name), vae_name=name).out()


def clip(canvas: Canvas, name: str, kind: str) -> Output:
    return canvas.add("CLIPLoader", None, links(name), clip_name=name, type=kind).out()


def two_clips(canvas: Canvas, names: tuple[str, str], kind: str) -> Output:
    given = {"clip_name1": names[0], "clip_name2": names[1], "type": kind}
    return canvas.add("DualCLIPLoader", None, links(*names), **given).out()


def prompts(canvas: Canvas, encoder: Output, positive: str, negative: str) -> tuple[Output, Output]:
    first = canvas.add("CLIPTextEncode", "Prompt", clip=encoder, text=positive).out()
    return first, canvas.add("CLIPTextEncode", "Negative prompt", clip=encoder, text=negative).out()


def empty(canvas: Canvas, kind: str, recipe: Recipe) -> Output:
    """The empty latent of the small video."""
    size = recipe.settings.size
    given = {"width": size.width, "height": size.height, "length": size.frames}
    return canvas.add(kind, "Low-resolution size", **given).out()


def shifted(canvas: Canvas, model: Output, recipe: Recipe) -> Output:
    return canvas.add("ModelSamplingSD3", model=model, shift=recipe.settings.shift).out()


def guided(canvas: Canvas, model: Output, texts: tuple[Output, Output], recipe: Recipe) -> Output:
    given = {"positive": texts[0], "negative": texts[1], "cfg": recipe.settings.cfg}
    return canvas.add("CFGGuider", model=model, **given).out()


def schedule(canvas: Canvas, model: Output, recipe: Recipe) -> Output:
    given = {"scheduler": "simple", "steps": recipe.settings.steps}
    return canvas.add("BasicScheduler", model=model, **given).out()


def settings_frame(canvas: Canvas) -> None:
    canvas.group("Prompt and schedule", BLUE)


def demo(canvas: Canvas, recipe: Recipe) -> Source:
    """The small model that comes with the pack; options: the words of its prompt."""
    begin(canvas)
    model = canvas.add("UNETLoader", unet_name=recipe.files[0], weight_dtype="default").out()
    decoder = canvas.add("VAELoader", vae_name=recipe.files[1]).out()
    words = canvas.add("S2FlowDemoPrompt", **(recipe.options or {}))
    latent = empty(canvas, "EmptyHunyuanLatentVideo", recipe)
    settings_frame(canvas)
    model = shifted(canvas, model, recipe)
    guider = guided(canvas, model, (words.out(0), words.out(1)), recipe)
    return Source((guider,), (guider,), schedule(canvas, model, recipe), latent, decoder)


def wan_text(canvas: Canvas, recipe: Recipe) -> Source:
    """Wan 2.1 text to video. options: weights (a dtype), context (frames at a time), light (less memory)."""
    more = recipe.options or {}
    begin(canvas)
    model = unet(canvas, recipe.files[0], more.get("weights", "default"))
    encoder = clip(canvas, recipe.files[1], "wan")
    decoder = vae(canvas, recipe.files[2])
    latent = empty(canvas, "EmptyHunyuanLatentVideo", recipe)
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, NEGATIVE["wan"])
    canvas.column()
    model = shifted(canvas, model, recipe)
    if "context" in more:
        given = {"context_length": more["context"], "context_overlap": more["overlap"]}
        model = canvas.add("WanContextWindowsManual", model=model, **given).out()
    guider = guided(canvas, model, texts, recipe)
    sigmas, light = schedule(canvas, model, recipe), more.get("light", False)
    return Source((guider,), (guider,), sigmas, latent, decoder, tiled=light, enlarge_in_pixels=not light)


def wan_5b(canvas: Canvas, recipe: Recipe) -> Source:
    """Wan 2.2 5B, whose empty latent is a node of its own."""
    begin(canvas)
    model = unet(canvas, recipe.files[0])
    encoder = clip(canvas, recipe.files[1], "wan")
    decoder = vae(canvas, recipe.files[2])
    size = recipe.settings.size
    given = {"width": size.width, "height": size.height, "length": size.frames, "vae": decoder}
    latent = canvas.add("Wan22ImageToVideoLatent", "Low-resolution size", **given).out()
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, NEGATIVE["wan"])
    canvas.column()
    model = shifted(canvas, model, recipe)
    guider = guided(canvas, model, texts, recipe)
    return Source((guider,), (guider,), schedule(canvas, model, recipe), latent, decoder, tiled=True)


def wan_experts(canvas: Canvas, recipe: Recipe) -> Source:
    """Wan 2.2 14B text to video: a model for high and one for low noise. options: loras, of both."""
    begin(canvas)
    models = experts(canvas, recipe)
    encoder = clip(canvas, recipe.files[2], "wan")
    decoder = vae(canvas, recipe.files[3])
    latent = empty(canvas, "EmptyHunyuanLatentVideo", recipe)
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, NEGATIVE["wan"])
    canvas.column()
    models = tuple(shifted(canvas, model, recipe) for model in models)
    guiders = tuple(guided(canvas, model, texts, recipe) for model in models)
    return Source(guiders, guiders, schedule(canvas, models[0], recipe), latent, decoder, tiled=True)


def experts(canvas: Canvas, recipe: Recipe) -> tuple[Output, ...]:
    models = tuple(unet(canvas, name) for name in recipe.files[:2])
    loras = (recipe.options or {}).get("loras", ())
    if not loras:
        return models
    return tuple(
        canvas.add("LoraLoaderModelOnly", None, links(lora), model=model, lora_name=lora).out()
        for model, lora in zip(models, loras, strict=True)
    )


def wan_picture(canvas: Canvas, recipe: Recipe) -> Source:
    """Wan image to video, with one model and CLIP Vision (2.1) or two experts (2.2).

    The picture is put into the prompts twice, at both sizes.
    """
    two = "high_noise" in recipe.files[0]
    begin(canvas)
    models = experts(canvas, recipe) if two else (unet(canvas, recipe.files[0]),)
    encoder = clip(canvas, recipe.files[len(models)], "wan")
    decoder = vae(canvas, recipe.files[len(models) + 1])
    vision = None
    if not two:
        name = recipe.files[3]
        vision = canvas.add("CLIPVisionLoader", None, links(name), clip_name=name).out()
    settings_frame(canvas)
    texts = prompts(canvas, encoder, recipe.prompt, NEGATIVE["wan"])
    picture = canvas.add("LoadImage", "Start image", image="example.png").out()
    canvas.column()
    seen = {}
    if vision is not None:
        given = {"clip_vision": vision, "image": picture, "crop": "none"}
        seen = {"clip_vision_output": canvas.add("CLIPVisionEncode", **given).out()}
    models = tuple(shifted(canvas, model, recipe) for model in models)
    sigmas = schedule(canvas, models[0], recipe)
    canvas.column()
    pictures: list[Node] = []
    for title, size in (("Small", recipe.settings.size), ("Large", recipe.settings.large)):
        given = {"width": size.width, "height": size.height, "length": size.frames, "start_image": picture}
        texts_and_vae = {"positive": texts[0], "negative": texts[1], "vae": decoder}
        node = canvas.add("WanImageToVideo", f"{title} start image", **texts_and_vae, **given, **seen)
        pictures.append(node)
    canvas.column()
    small, large = (
        tuple(guided(canvas, model, (node.out(0), node.out(1)), recipe) for model in models)
        for node in pictures
    )
    return Source(small, large, sigmas, pictures[0].out(2), decoder, tiled=True)
