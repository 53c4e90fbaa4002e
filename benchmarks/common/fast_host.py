"""ComfyUI for long measurements: on a CPU the same numbers in two thirds of the time.

Its default attention on a CPU is slower than torch's own, and torch takes MKL for float32 linear layers,
which on other processors than Intel's leaves half of the speed. Only times change, those of all rows alike.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from comfyui_runner.installation import import_exact_comfy


def import_fast_comfy() -> None:
    """`import_exact_comfy` with torch's attention and oneDNN's linear layers, for this process."""
    import_exact_comfy()
    import comfy.cli_args

    # Read when ComfyUI's attention is imported, which that alone does not do.
    comfy.cli_args.args.use_pytorch_cross_attention = True
    use_onednn_linear()


def use_onednn_linear() -> None:
    """Where torch has the operator; with gradients the ordinary way stays."""
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    ordinary = F.linear
    if operator is None:
        return

    def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        fits = input.dtype == weight.dtype == torch.float32 and input.device.type == "cpu"
        if torch.is_grad_enabled() or not fits or input.ndim < 2:
            return ordinary(input, weight, bias)
        return operator(input, weight, bias, "none", [], "")

    F.linear = linear
