"""The two optimizers: AdamW, and Muon for the matrices with AdamW for the rest."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from training.muon import Muon
from training.piecewise import Workers


class Optimizer(Protocol):
    """What the loop asks of an optimizer; a step also forgets the gradients."""

    def step(self, rate: float) -> None: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


class AdamW:
    """Plain AdamW over all parameters."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float = 0.01):
        self.adamw = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=weight_decay)

    def step(self, rate: float) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.adamw.zero_grad()

    def state_dict(self) -> dict:
        return self.adamw.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.adamw.load_state_dict(state)


class MuonWithAdamW:
    """Muon for the matrices and AdamW for the rest.

    Convolution kernels take part as (out, in * taps) views of the same storage. workers: compute several
    matrices at a time.
    """

    def __init__(
        self, parameters: list[nn.Parameter], matrices: set[nn.Parameter], workers: Workers | None = None
    ):
        self.kernels = [p for p in parameters if p in matrices]
        self.views = [nn.Parameter(p.data.reshape(p.shape[0], -1)) for p in self.kernels]
        for kernel, view in zip(self.kernels, self.views, strict=True):
            if kernel.data_ptr() != view.data_ptr():
                raise ValueError("a kernel must be contiguous to be trained through its matrix view")
        rest = [p for p in parameters if p not in matrices]
        self.muon = Muon(self.views, workers)
        self.adamw = torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, rate: float) -> None:
        for kernel, view in zip(self.kernels, self.views, strict=True):
            view.grad = None if kernel.grad is None else kernel.grad.reshape(view.shape)
            kernel.grad = None
        self.muon.step(rate)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.adamw.zero_grad()

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
