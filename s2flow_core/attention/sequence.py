"""Where the video lies among the tokens of a self-attention, and what weighs its keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..windows.grid import TokenGrid
from .errors import WindowsNotApplicable
from .key_mask import key_bias
from .known_masks import KnownMasks


@dataclass(frozen=True)
class VideoSequence:
    """The tokens of one self-attention: prefix, then the video in raster order, then suffix.

    grid: the video's tokens and tiles. prefix, suffix: numbers of tokens before and after it (text, reference
    pictures); they are seen by every query and see everything. key_mask: as the model passes it, see
    `key_mask.key_bias`. scale: factor on q·k; None stands for 1/sqrt(dim). masks: what
    is known of the mask from earlier calls.
    """

    grid: TokenGrid
    prefix: int = 0
    suffix: int = 0
    key_mask: Tensor | None = None
    scale: float | None = None
    masks: KnownMasks = field(default_factory=KnownMasks, compare=False)

    @property
    def tokens(self) -> int:
        """Of text and video together."""
        return self.prefix + self.grid.tokens + self.suffix

    @property
    def video(self) -> slice:
        """The video's tokens within the sequence."""
        return slice(self.prefix, self.prefix + self.grid.tokens)

    def bias(self, batch: int) -> Tensor | None:
        """(batch, tokens) float32 added to the logits of each key, or None; raises as `key_bias` does."""
        mask = self.key_mask
        if mask is None:
            return None
        return self.masks.once(mask, ("bias", batch, self.tokens), lambda: key_bias(mask, batch, self.tokens))

    def factor(self, dim: int) -> float:
        """What q·k is multiplied with, for heads of `dim` channels."""
        return dim**-0.5 if self.scale is None else self.scale

    def check(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Raises WindowsNotApplicable unless q, k, v (B, heads, tokens, dim) are self-attention over this."""
        if q.ndim != 4 or q.shape != k.shape or q.shape != v.shape:
            raise WindowsNotApplicable(
                "windows need self-attention, but q, k and v have the shapes "
                f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
            )
        if min(self.prefix, self.suffix) < 0 or q.shape[2] != self.tokens:
            raise WindowsNotApplicable(
                f"the model attends to {q.shape[2]} tokens, but the windows are for {self.prefix} + "
                f"{'x'.join(map(str, self.grid.shape))} + {self.suffix}"
            )
