"""Steps one stream of an HR run: the video, or what runs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        """Keeps the velocity of a step that the model computed; a second try replaces the first."""
        here = Node(float(sigma), velocity(x, denoised, sigma))
        self.past = [here, *[node for node in self.past if node.sigma != here.sigma][:1]]

    @property
    def remembered(self) -> dict[str, tuple[Node, ...]]:
        """Everything of earlier steps that later ones look at, newest first."""
        return {"solver": self.solver.history, "forecast": tuple(self.past)}

    def recall(self, remembered: Mapping[str, Sequence[Node]]) -> None:
        """Takes over what an earlier process remembered."""
        self.solver.go_on_from(remembered["solver"])
        self.past = list(remembered["forecast"])

    def forecast(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean estimate of a step that the model does not compute."""
        return x - sigma * forecast_velocity(self.past, float(sigma), self.field)

    def step(self, x: Tensor, denoised: Tensor, sigmas: Tensor, i: int) -> Tensor:
        """The state at sigmas[i+1]."""
        return self.solver.step(x, denoised, sigmas, i)
