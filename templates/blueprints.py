"""The blueprints: all of S²Flow as one node, and a preview as one node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfyui_runner.installation import ROOT
from templates.blueprint import Blueprint, given
from templates.canvas import Canvas
from templates.chain import GREEN, RED, YELLOW
from templates.node import Json, Output

SUBGRAPHS = ROOT / "subgraphs"
Inputs = tuple[tuple[str, str, Any], ...]

SOCKETS: Inputs = (
    ("model", "MODEL", None),
    ("positive", "CONDITIONING", None),
    ("negative", "CONDITIONING", None),
    ("vae", "VAE", None),
)
# As the bundled workflow for Wan 2.1 has them.
SIZE: Inputs = (("width", "INT", 832), ("height", "INT", 480), ("length", "INT", 81))
TWICE: Inputs = (
    *SOCKETS,
    *SIZE,
    ("steps", "INT", 30),
    ("cfg", "FLOAT", 6.0),
    ("seed", "INT", 7),
    ("t_i", "INT", 0),
    ("s", "FLOAT", 0.5),
)
# The paper: 10 of 40 steps at the large size.
PREVIEW: Inputs = (
    *SOCKETS,
    *SIZE,
    ("steps", "INT", 40),
    ("k", "INT", 10),
    ("cfg", "FLOAT", 6.0),
    ("seed", "INT", 7),
    ("scale", "FLOAT", 0.5),
)


def blueprints_of(definitions: Json) -> list[Blueprint]:
    return [twice(definitions), bowtie_preview(definitions)]


def file_of(blueprint: Blueprint) -> Path:
    return SUBGRAPHS / f"{blueprint.name}.json"


def start(canvas: Canvas, inputs: Inputs) -> dict[str, Output]:
    """noise, guider, sigmas and latent_image of the first run."""
    canvas.group("Schedule and guidance", GREEN, narrow=True)
    texts = {name: given(inputs, name) for name in ("positive", "negative")}
    guider = canvas.add("CFGGuider", model=given(inputs, "model"), **texts, cfg=given(inputs, "cfg"))
    schedule = {"model": given(inputs, "model"), "steps": given(inputs, "steps"), "scheduler": "simple"}
    size = {name: given(inputs, name) for name in ("width", "height", "length")}
    return {
        "noise": canvas.add("RandomNoise", noise_seed=given(inputs, "seed")).out(),
        "guider": guider.out(),
        "sigmas": canvas.add("BasicScheduler", **schedule).out(),
        "latent_image": canvas.add("EmptyHunyuanLatentVideo", **size).out(),
    }


def twice(definitions: Json) -> Blueprint:
    """The small run, the transition and the large run, with their sliders outside."""
    canvas, inputs = Canvas(definitions, "S2Flow 2x"), TWICE
    first, vae, seed = start(canvas, inputs), given(inputs, "vae"), given(inputs, "seed")
    canvas.group("Low resolution", GREEN, narrow=True)
    small = canvas.add("S2FlowLowResSampler", **first)
    before = canvas.add("VAEDecode", samples=small.out(), vae=vae)
    canvas.group("Transition: t_i and s", YELLOW)
    record = small.out("trajectory")
    enlarged = canvas.add("S2FlowUpsample", trajectory=record, vae=vae, seed=seed, t_i=given(inputs, "t_i"))
    latent, left = enlarged.out("latent"), enlarged.out("sigmas")
    windows = canvas.add(
        "S2FlowWindowMask", trajectory=record, latent=latent, sigmas=left, s=given(inputs, "s")
    )
    canvas.group("High resolution", RED, narrow=True)
    rest = {"noise": enlarged.out("noise"), "guider": first["guider"], "sigmas": left, "latent_image": latent}
    along = {"trajectory": record, "windows": windows.out("windows")}
    large = canvas.add("S2FlowHighResSampler", **rest, **along)
    after = canvas.add("VAEDecode", samples=large.out(), vae=vae)
    return Blueprint(
        canvas.title,
        "A video at twice the size its model was trained for: the small run, then the large one. The sliders "
        "are t_i (steps at the large size; 0 takes .6 of them) and s (share of the video a head looks at).",
        canvas,
        inputs,
        (
            ("large", after.out()),
            ("small", before.out()),
            ("report", windows.out("report")),
            ("windows", windows.out("windows")),
            ("trajectory", record),
        ),
    )


def bowtie_preview(definitions: Json) -> Blueprint:
    """k steps at the model's own size decide the layout, the others are made small."""
    canvas, inputs = Canvas(definitions, "S2Flow Bowtie preview"), PREVIEW
    first, vae, model = start(canvas, inputs), given(inputs, "vae"), given(inputs, "model")
    canvas.group("First k steps", GREEN, narrow=True)
    k = given(inputs, "k")
    split = canvas.add("SplitSigmas", sigmas=first["sigmas"], step=k)
    sampler = canvas.add("KSamplerSelect", sampler_name="euler")
    begun = canvas.add("SamplerCustomAdvanced", **first | {"sigmas": split.out(0)}, sampler=sampler.out())
    canvas.group("Smaller", YELLOW)
    smaller = canvas.add(
        "S2FlowNoiseReshift",
        model=model,
        latent=begun.out("denoised_output"),
        noisy_latent=begun.out("output"),
        sigmas=first["sigmas"],
        k=k,
        scale=given(inputs, "scale"),
        seed=given(inputs, "seed"),
    )
    names = {"noise": "noise", "sigmas": "sigmas", "latent_image": "latent"}
    rest = {name: smaller.out(output) for name, output in names.items()}
    canvas.group("The rest, small", RED, narrow=True)
    small = canvas.add("S2FlowLowResSampler", guider=first["guider"], **rest)
    frames = canvas.add("VAEDecode", samples=small.out(), vae=vae)
    return Blueprint(
        canvas.title,
        "A preview in a fraction of the time, with the layout of the large video: k steps run at the model's "
        "own size, the rest at a smaller one. Its trajectory goes to S²Flow Upsample.",
        canvas,
        inputs,
        (
            ("preview", frames.out()),
            ("latent", small.out()),
            ("trajectory", small.out("trajectory")),
            ("guider", first["guider"]),
        ),
    )
