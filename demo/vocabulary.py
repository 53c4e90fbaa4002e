"""The words that describe a clip, and the colours they stand for.

Four words say everything that a prompt can ask for, so a prompt is a tuple, a
caption is a fixed sentence, and every word can be checked on the pixels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

# sRGB in 0..1. Objects are saturated or white and the grounds are muted, so colour alone separates them.
COLORS = {
    "red": (0.86, 0.14, 0.16),
    "yellow": (0.95, 0.82, 0.12),
    "green": (0.22, 0.80, 0.28),
    "blue": (0.16, 0.36, 0.95),
    "purple": (0.70, 0.24, 0.86),
    "white": (0.95, 0.95, 0.95),
}
GROUNDS = {
    "sand": (0.70, 0.62, 0.48),
    "stone": (0.46, 0.46, 0.49),
    "water": (0.16, 0.31, 0.38),
    "grass": (0.21, 0.29, 0.16),
}
SHAPES = ("circle", "square", "triangle")
# Unit steps in pixels: x to the right, y down.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Prompt:
    """What one clip shows: one coloured shape that moves one way over one ground."""

    color: str
    shape: str
    direction: str
    ground: str

    @property
    def words(self) -> tuple[str, str, str, str]:
        return (self.color, self.shape, self.direction, self.ground)

    @property
    def caption(self) -> str:
        return f"a {self.color} {self.shape} moving {self.direction} over {self.ground}"


def all_prompts() -> list[Prompt]:
    """Every combination of the vocabulary, in a fixed order."""
    return [Prompt(*words) for words in product(COLORS, SHAPES, DIRECTIONS, GROUNDS)]


# From one held-out prompt to the next: prime to their number, and of such steps the one after which the first
# 4, 8 and 16 share out the words most evenly.
HELD_OUT_STEP = 13


def held_out_prompts() -> list[Prompt]:
    """Every ninth combination: never trained on, so the measures test how words combine.

    In an order in which the first few, which are all that most tables use, show about all words.
    """
    ninth = all_prompts()[4::9]
    return [ninth[index * HELD_OUT_STEP % len(ninth)] for index in range(len(ninth))]


# Length of one token of Wan's text encoder.
TEXT_WIDTH = 4096


def embed_word(word: str) -> Tensor:
    """The fixed random vector that stands for a word in place of a text encoder's token -> (TEXT_WIDTH,).

    Its length is about 1: with unit entries one Adam step would move a neuron's input by several units, and
    whole words die in the first layer.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(word.encode()))
    return torch.randn(TEXT_WIDTH, generator=generator) / TEXT_WIDTH**0.5


def embed_prompt(prompt: Prompt | None) -> Tensor:
    """A prompt as a sequence of tokens -> (1, 4, TEXT_WIDTH); None is the empty prompt of guidance."""
    if prompt is None:
        return torch.zeros(1, 4, TEXT_WIDTH)
    return torch.stack([embed_word(word) for word in prompt.words])[None]
