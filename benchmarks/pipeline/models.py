"""The shapes of published models, as far as their cost depends on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from s2flow_core.windows.grid import Triple


@dataclass(frozen=True)
class VideoSize:
    """Pixels and frames."""

    width: int
    height: int
    frames: int

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.width * self.height * self.frames

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"


def every_fourth(frames: int) -> int:
    """Latent frames of the VAEs that keep the first frame and join four after it."""
    return (frames - 1) // 4 + 1


def every_eighth(frames: int) -> int:
    """Latent frames of LTX-Video's VAE."""
    return (frames - 1) // 8 + 1


def minimax_frames(frames: int) -> int:
    """17k+5 frames are 5k+2 latent ones: of every 17, the first alone and four times four."""
    return (frames - 5) // 17 * 5 + 2


def no_sound(frames: int) -> int:
    return 0


def minimax_sound(frames: int) -> int:
    """Two channels at 40 tokens a second, beside 24 frames."""
    return 2 * round(frames * 40 / 24)


@dataclass(frozen=True)
class LiveWidths:
    """As live_widths.py counts them in ComfyUI 0.33: whole, and with the feed-forward layers in 16 pieces."""

    whole: float
    in_pieces: float


@dataclass(frozen=True)
class ModelShape:
    """A published model. Weights are counted per layer, in numbers.

    token_weights: that every video token is multiplied with; text_weights: that every text token is.
    parameters: of all layers. joint_text: text tokens take part in self-attention; else they are the keys
    of a cross-attention. passes: of the model per step (2 with a negative prompt). live: tensors of the
    layer's width that are alive at once where most are, in one pass. side: pixels of a latent cell. vae: its
    name in vae_flops.py, None where its operations are not counted. attention_width: of q, k and v, where it
    is not the layer's. sound_tokens: beside the text, for so many frames.
    """

    name: str
    layers: int
    width: int
    heads: int
    token_weights: int
    text_weights: int
    parameters: int
    live: LiveWidths
    text_tokens: int
    joint_text: bool
    passes: int
    patch: Triple
    side: int
    channels: int
    vae: str | None
    latent_frames: Callable[[int], int] = every_fourth
    attention_width: int = 0
    sound_tokens: Callable[[int], int] = no_sound

    @property
    def inner(self) -> int:
        """Width of q, k and v."""
        return self.attention_width or self.width

    def beside(self, size: VideoSize) -> int:
        """Tokens of text and sound."""
        return self.text_tokens + self.sound_tokens(size.frames)

    def latent(self, size: VideoSize) -> Triple:
        """(T, H, W) cells."""
        return (self.latent_frames(size.frames), size.height // self.side, size.width // self.side)

    def grid(self, size: VideoSize) -> Triple:
        """(T, H, W) tokens."""
        t, h, w = (-(-cells // step) for cells, step in zip(self.latent(size), self.patch, strict=True))
        return (t, h, w)

    def tokens(self, size: VideoSize) -> int:
        t, h, w = self.grid(size)
        return t * h * w


def hunyuan_video() -> ModelShape:
    w, double, single = 3072, 20, 40
    # qkv 3, projection 1, MLP 8 widths²; a double block has them twice, and modulations of 2·6 and 3 widths².
    return ModelShape(
        "HunyuanVideo 13B", double + single, w, 24, 12 * w * w, 12 * w * w,
        (double * 36 + single * 15) * w * w, LiveWidths(13.5, 13.5), 256, True, 1, (1, 2, 2), 8, 16,
        "hunyuan",
    )  # fmt: skip


def hunyuan_video_15() -> ModelShape:
    w, blocks = 2048, 54
    # As the double blocks of HunyuanVideo; a text of up to 1000 tokens, and those of the quoted words.
    return ModelShape(
        "HunyuanVideo 1.5", blocks, w, 16, 12 * w * w, 12 * w * w, blocks * 36 * w * w, LiveWidths(11.3, 7.4),
        1256, True, 2, (1, 1, 1), 16, 32, None,
    )  # fmt: skip


def ltx_video() -> ModelShape:
    layers, w, ffn = 28, 2048, 8192
    # As Wan, with cells of 32x32 pixels and eight frames.
    return ModelShape(
        "LTX-Video 2B", layers, w, 32, 6 * w * w + 2 * w * ffn, 2 * w * w, layers * (8 * w * w + 2 * w * ffn),
        LiveWidths(14.0, 10.0), 128, False, 2, (1, 1, 1), 32, 128, None, every_eighth,
    )  # fmt: skip


def wan(
    name: str, layers: int, w: int, ffn: int, heads: int, live: LiveWidths, side: int = 8, channels: int = 16
) -> ModelShape:
    # self-attention 4, cross-attention's q and o 2 widths², its k and v for the text; feed-forward 2.
    return ModelShape(
        name, layers, w, heads, 6 * w * w + 2 * w * ffn, 2 * w * w, layers * (8 * w * w + 2 * w * ffn),
        live, 512, False, 2, (1, 2, 2), side, channels, "wan22" if side == 16 else "wan",
    )  # fmt: skip


def minimax_h3() -> ModelShape:
    layers, w, heads, dim, ffn, time = 50, 5376, 56, 128, 14336, 2688
    inner = heads * dim
    # qkv 3 and projection 1 times w·inner, gated feed-forward 3 times w·ffn, for every token alike.
    # Modulations, 6 for each of 3 kinds of token, are of the time alone; files in curve form hold less.
    weights = 4 * w * inner + 3 * w * ffn
    return ModelShape(
        "MiniMax H3", layers, w, heads, weights, weights, layers * (weights + 18 * w * time),
        LiveWidths(12.8, 10.4), 512, True, 2, (1, 2, 2), 16, 24, None,
        minimax_frames, inner, minimax_sound,
    )  # fmt: skip


MODELS = {
    "hunyuan_video": hunyuan_video(),
    "wan_14b": wan("Wan 14B", 40, 5120, 13824, 40, LiveWidths(9.6, 7.2)),
    "wan_1.3b": wan("Wan 2.1 1.3B", 30, 1536, 8960, 12, LiveWidths(16.1, 7.4)),
    "wan22_5b": wan("Wan 2.2 5B", 30, 3072, 14336, 24, LiveWidths(13.6, 7.3), 16, 48),
    "minimax_h3": minimax_h3(),
    "hunyuan_video_15": hunyuan_video_15(),
    "ltx_video": ltx_video(),
}
