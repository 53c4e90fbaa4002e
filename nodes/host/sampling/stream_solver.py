"""Steps one stream of an HR run: the video, or what runs beside it."""

from __future__ import annotations

from torch import Tensor

from ....s2flow_core.latent.flow import velocity
from ....s2flow_core.solver.derivatives import Node
from ....s2flow_core.solver.flow_solver import FlowSolver
from ....s2flow_core.solver.low_res_field import LowResField
from ....s2flow_core.solver.skipping import forecast_velocity


class StreamSolver:
    """A solver, and the last computed velocities of its stream, from which a skipped step is forecast.

    field: the LR record that a forecast may look into, or None.
    """

    def __init__(self, solver: FlowSolver, field: LowResField | None = None):
        self.solver = solver
        self.field = field
        self.past: list[Node] = []  # newest first

    def remember(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> None:
        """Keeps the velocity of a step that the model computed."""
        self.past = [Node(float(sigma), velocity(x, denoised, sigma)), *self.past[:1]]

    def forecast(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean estimate of a step that the model does not compute."""
        return x - sigma * forecast_velocity(self.past, float(sigma), self.field)

    def step(self, x: Tensor, denoised: Tensor, sigmas: Tensor, i: int) -> Tensor:
        """The state at sigmas[i+1]."""
        return self.solver.step(x, denoised, sigmas, i)
