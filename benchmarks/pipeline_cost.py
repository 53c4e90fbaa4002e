"""What a run costs, from the model's shape alone: tokens, floating point operations, bytes."""

from __future__ import annotations

from dataclasses import dataclass

from s2flow_core.grid import TokenGrid, choose_reach_tile

Triple = tuple[int, int, int]
HALF = 2  # bytes of bfloat16 and float16


@dataclass(frozen=True)
class ModelShape:
    """A published model. Weights are counted per layer, in numbers.

    token_weights: that every video token is multiplied with; text_weights: that every text token is.
    parameters: of all layers. joint_text: text tokens take part in self-attention; else they are the keys
    of a cross-attention. passes: of the model per step (2 with a negative prompt). live_widths: tensors of
    the layer's width that are alive at once where most are. compression: of the VAE, frames and side.
    """

    name: str
    layers: int
    width: int
    heads: int
    token_weights: int
    text_weights: int
    parameters: int
    live_widths: float
    text_tokens: int
    joint_text: bool
    passes: int
    patch: Triple
    compression: tuple[int, int]
    channels: int
    vae: str

    def latent(self, size: VideoSize) -> Triple:
        """(T, H, W) cells."""
        frames, side = self.compression
        return ((size.frames - 1) // frames + 1, size.height // side, size.width // side)

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
        (double * 36 + single * 15) * w * w, 15, 256, True, 1, (1, 2, 2), (4, 8), 16, "hunyuan",
    )  # fmt: skip


def wan(name: str, layers: int, w: int, ffn: int, heads: int, side: int, channels: int) -> ModelShape:
    # self-attention 4, cross-attention's q and o 2 widths², its k and v for the text; feed-forward 2.
    return ModelShape(
        name, layers, w, heads, 6 * w * w + 2 * w * ffn, 2 * w * w, layers * (8 * w * w + 2 * w * ffn),
        2 + max(6, 2 * ffn / w), 512, False, 2, (1, 2, 2), (4, side), channels,
        "wan22" if side == 16 else "wan",
    )  # fmt: skip


MODELS = {
    "hunyuan_video": hunyuan_video(),
    "wan_14b": wan("Wan 14B", 40, 5120, 13824, 40, 8, 16),
    "wan_1.3b": wan("Wan 2.1 1.3B", 30, 1536, 8960, 12, 8, 16),
    "wan22_5b": wan("Wan 2.2 5B", 30, 3072, 14336, 24, 16, 48),
}


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


@dataclass(frozen=True)
class StepCost:
    """Floating point operations of one step, a multiply-add counted as two."""

    linear: float
    self_attention: float
    cross_attention: float

    @property
    def total(self) -> float:
        return self.linear + self.self_attention + self.cross_attention


def step_cost(model: ModelShape, size: VideoSize, density: float = 1.0) -> StepCost:
    """One step, all passes. density: share of video keys that a video query sees; text is always seen."""
    n, text = model.tokens(size), model.text_tokens
    per_layer = model.layers * model.passes
    video = density * n * n
    joint = 2 * n * text + text * text if model.joint_text else 0
    return StepCost(
        linear=per_layer * 2.0 * (n * model.token_weights + text * model.text_weights),
        self_attention=per_layer * 4.0 * model.width * (video + joint),
        cross_attention=0.0 if model.joint_text else per_layer * 4.0 * model.width * n * text,
    )


def capture_cost(model: ModelShape, size: VideoSize, rows: int) -> float:
    """Measuring reach in one step: q·k of the sampled rows, positive pass only."""
    return 2.0 * model.layers * model.width * rows * model.tokens(size)


@dataclass(frozen=True)
class Plan:
    """A run as the paper does it. s: share of the video a query sees; t_i: steps at the large size."""

    low: VideoSize
    high: VideoSize
    steps: int = 50
    steps_left: int = 30
    density: float = 0.5
    rows: int = 256


def stage_flops(model: ModelShape, plan: Plan, vae: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Way of making the video -> stage -> operations. vae: of decoding and encoding one pixel."""
    decode, encode = vae
    low = plan.steps * step_cost(model, plan.low).total
    between = decode * plan.low.pixels + encode * plan.high.pixels
    last = {"VAE at the end": decode * plan.high.pixels}
    dense = step_cost(model, plan.high).total
    windowed = step_cost(model, plan.high, plan.density).total
    capture = plan.steps * capture_cost(model, plan.low, plan.rows)
    return {
        "direct": {"high-res": plan.steps * dense} | last,
        "cascade, dense": {
            "low-res": low, "VAE between": between, "high-res": plan.steps_left * dense,
        } | last,
        "S²Flow": {
            "low-res": low, "capture": capture, "VAE between": between,
            "high-res": plan.steps_left * windowed,
        } | last,
    }  # fmt: skip


def density_for(model: ModelShape, plan: Plan, speedup: float) -> float:
    """The density at which the HR stage needs that many times fewer operations than all steps directly."""
    dense, none = (step_cost(model, plan.high, d).total for d in (1.0, 0.0))
    wanted = plan.steps * dense / speedup / plan.steps_left
    return (wanted - none) / (dense - none)


def memory_parts(model: ModelShape, plan: Plan) -> dict[str, float]:
    """Bytes, with where they lie and what was assumed as the key."""
    n = model.tokens(plan.high)
    low_cells = model.channels
    for side in model.latent(plan.low):
        low_cells *= side
    tiles = TokenGrid(model.grid(plan.low), choose_reach_tile(model.grid(plan.low))).tiles
    per_step = model.layers * model.heads
    return {
        "device: weights, bf16": HALF * model.parameters,
        f"device: one layer at HR, {model.live_widths:g} tensors of its width in bf16, one pass": HALF
        * model.live_widths
        * n
        * model.width,
        "device: a score matrix of tokens² per head": 0.0,
        "CPU: trajectory, estimate and noise of every step in fp16": 2.0 * HALF * plan.steps * low_cells,
        "CPU: reach of every step, layer and head in fp16": float(
            HALF * plan.steps * per_step * tiles[0] * tiles[1] * tiles[2]
        ),
        "CPU: windows of every step, layer and head, 3 int64": 24.0 * plan.steps * per_step,
    }
