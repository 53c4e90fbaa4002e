"""What the figures of a finished video mean, in the artist's words, and which slider to move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .measures import Measures


@dataclass(frozen=True)
class Fault:
    """Something that an artist should look at. name: in one word; words: what is seen and what to do."""

    name: str
    words: str


@dataclass(frozen=True)
class Check:
    """One fault that may be found. amiss: whether these figures show it; words: with fields of `Measures`."""

    name: str
    amiss: Callable[[Measures], bool]
    words: str


# Chosen between the good and the spoiled videos of `python -m benchmarks.video_check`.
CHECKS = (
    Check(
        "frozen",
        lambda m: m.motion < 0.25,
        "It hardly moves: {motion:.0%} of the small video's motion. Look at the model and its frames: the "
        "large run must have the same length and prompts as the small one.",
    ),
    Check(
        "flicker",
        lambda m: m.pulse > 0.01 or m.flicker > 0.01,
        "Its brightness pulses by {pulse:.1%} from frame to frame ({flicker:.1%} in parts of the picture), "
        "which the small video does not. Decode it without time tiles, or with a longer overlap of them; "
        "then raise s.",
    ),
    Check(
        "repetition",
        lambda m: m.repetition > 0.4,
        "It repeats itself at the distance of the training size ({repetition:.0%} of what is possible beyond "
        "the small video's own repetition). Lower share (or t_i) in Upsample, or set rope to position in the "
        "High-Res Sampler.",
    ),
    Check(
        "seam",
        lambda m: m.seam > 0.015,
        "A straight line runs through it, with a step of {seam:.1%} in brightness. Decode it without tiles, "
        "or with more overlap; if it stays, switch the tail on in Window Mask or raise s.",
    ),
    Check(
        "drift",
        lambda m: m.likeness < 22,
        "It has left the small video: {likeness:.0f} dB alike. Lower share (or t_i) in Upsample, or raise "
        "alignment in the High-Res Sampler, if you want what the preview shows.",
    ),
    Check(
        "no detail",
        lambda m: m.detail is not None and m.detail < 1.2,
        "It shows hardly more than the small video enlarged ({detail:.1f} times its fine energy). Raise "
        "share (or t_i) in Upsample.",
    ),
)


def faults_of(measures: Measures) -> list[Fault]:
    """What is amiss, worst first. Of a frozen video nothing else is said: the rest follows from it."""
    found = [
        Fault(check.name, check.words.format(**vars(measures))) for check in CHECKS if check.amiss(measures)
    ]
    return found[:1] if found and found[0].name == "frozen" else found


def report_of(measures: Measures) -> str:
    """A verdict, then each fault with its advice, then the figures."""
    faults = faults_of(measures)
    verdict = "Fine." if not faults else "Look at: " + ", ".join(fault.name for fault in faults) + "."
    figures = (
        f"Figures: pulse {measures.pulse:.3f}, flicker {measures.flicker:.3f}, repetition "
        f"{measures.repetition:.2f}, seam {measures.seam:.3f}, likeness {measures.likeness:.1f} dB, motion "
        f"{measures.motion:.2f}, detail "
        + ("not measured (both have one size)." if measures.detail is None else f"{measures.detail:.1f}.")
    )
    return "\n".join([verdict, *(fault.words for fault in faults), figures])
