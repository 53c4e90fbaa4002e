"""Node inputs written once for hosts that differ in what a schema can say."""

from __future__ import annotations

from typing import TypeVar

from comfy_api.latest import io

CATEGORY = "S²Flow"

Widget = TypeVar("Widget", bound=io.Input)

TrajectoryType = io.Custom("S2FLOW_TRAJECTORY")
WindowsType = io.Custom("S2FLOW_WINDOWS")
# ComfyUI 0.3.75 checks "*" of a new-style node literally; a list of types fits wherever one of them does.
AnyResultType = io.Custom("VIDEO,IMAGE,LATENT")


def seed_input(tooltip: str, control: bool = True) -> io.Int.Input:
    """A seed; without `control` the browser has no widget that changes it after every run.

    An explicit False matters: left out, the browser adds the widget to any input of this name.
    """
    return io.Int.Input(
        "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=control, tooltip=tooltip
    )


def enlargement_input() -> io.Float.Input:
    return io.Float.Input(
        "scale",
        default=2.0,
        min=1.0,
        max=8.0,
        step=0.05,
        tooltip=(
            "Enlargement per side; used while width and height are 0. 2 has four times the pixels, and each "
            "step takes far more than four times as long."
        ),
    )


def enlarging_vae_input() -> io.Vae.Input:
    return io.Vae.Input(
        "vae",
        optional=True,
        tooltip=(
            "Enlarges in pixels: decode, resize, encode. Cleaner edges, for the time of one decode and one "
            "encode. Without it the latent is resized: faster, softer."
        ),
    )


def exact_size_inputs() -> list[io.Int.Input]:
    """Width and height in pixels, which go before a scale."""
    return [
        advanced(
            io.Int.Input(
                side,
                default=0,
                min=0,
                max=16384,
                step=8,
                tooltip=f"{side.capitalize()} after the change of size, in pixels; 0: use scale.",
            )
        )
        for side in ("width", "height")
    ]


def trim_latent_input() -> io.Int.Input:
    """A link and no widget: what stands here follows from the node that made the latent."""
    return io.Int.Input(
        "trim_latent",
        optional=True,
        force_input=True,
        tooltip=(
            "trim_latent of WanVaceToVideo, WanAnimateToVideo and the like: how many latent frames at the "
            "start are reference pictures. They become a clip of their own and do not leak into the video. "
            "Not connected: what the prompts say."
        ),
    )


def advanced(widget: Widget) -> Widget:
    """Folds a widget under "advanced"; ComfyUI before 0.4 has no argument for it but obeys the key."""
    if hasattr(widget, "advanced"):
        widget.advanced = True
    else:
        widget.extra_dict["advanced"] = True
    return widget


DEFAULT_BOUNDARY = 0.875


def low_noise_input() -> io.Guider.Input:
    return io.Guider.Input(
        "guider_low_noise",
        optional=True,
        tooltip=(
            "For models of two experts such as Wan 2.2 14B: the guider of the low-noise model; 'guider' is "
            "then the high-noise one."
        ),
    )


def boundary_input() -> io.Float.Input:
    return advanced(
        io.Float.Input(
            "boundary",
            default=DEFAULT_BOUNDARY,
            min=0.0,
            max=1.0,
            step=0.005,
            tooltip=(
                "With two experts, the sigma below which the low-noise one takes over. Wan 2.2: 0.875 for "
                "text to video, 0.9 for image to video."
            ),
        )
    )


def gpus_input() -> io.Int.Input:
    return advanced(
        io.Int.Input(
            "gpus",
            default=1,
            min=0,
            max=64,
            tooltip=(
                "GPUs of this machine that share the attention. No second copy of the model is needed. 0 "
                "takes all. With CFG above 1 and two GPUs, core's MultiGPU CFG Split is faster. Not yet "
                "tried on two real cards."
            ),
        )
    )


def resume_input() -> io.Int.Input:
    return advanced(
        io.Int.Input(
            "resume_every",
            default=0,
            min=0,
            max=1000,
            tooltip=(
                "Keeps the run in the output folder every this many steps, and when it is cancelled or "
                "fails. The same graph then goes on from there and gives the same video, also after a crash "
                "or a power cut. Costs a little time and disk; the file goes when the run, and a large run "
                "that is kept too and waits for it, ends well. 0 is off."
            ),
        )
    )


def feed_forward_input() -> io.Int.Input:
    return advanced(
        io.Int.Input(
            "feed_forward_chunks",
            default=0,
            min=0,
            max=64,
            tooltip=(
                "In how many pieces the model's feed-forward layers run, for large videos on small cards: "
                "less memory, the same video, a little more time, and much more where many pieces fetch "
                "weights from main memory. 0 chooses by the memory that is free; 1 never cuts. HunyuanVideo "
                "1.0 gains little."
            ),
        )
    )


def small_fps_input() -> io.Float.Input:
    return io.Float.Input(
        "small_fps",
        default=0.0,
        min=0.0,
        max=120.0,
        step=1.0,
        optional=True,
        tooltip="Frames a second of the small video where it has others; 0: the same.",
    )
