"""Answers the HR run's self-attention with windows, looked up by the sigma of the step."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from ....s2flow_core.attention.call import VisitedKeys
from ....s2flow_core.attention.choice import BackendChooser
from ....s2flow_core.attention.errors import WindowsCannotWin, WindowsNotApplicable
from ....s2flow_core.attention.window_attention import HeadWindows, window_attention
from ....s2flow_core.plan.window_plan import WindowPlan
from ..families.family import ModelFamily
from ..model.checks import diffusion_model, require_family
from .call import SelfAttentionCall
from .forward_pass import ForwardPass
from .hook import SelfAttentionHook
from .speeds_file import measured_rates
from .video_grid import video_grid

log = logging.getLogger(__name__)


class WindowedAttention(SelfAttentionHook):
    """Every condition's rows use the windows that the positive condition chose at LR."""

    work = "windows"
    sees_calls = True

    def __init__(self, family: ModelFamily, model: Any, plan: WindowPlan, backend: str = "auto"):
        super().__init__(family, model)
        self.plan = plan
        self.chooser = BackendChooser(backend, measured_rates(), self.sharing.by_device)

    def require_grid_of(self, samples: Tensor, guider: Any) -> None:
        """Raises unless the model sees a latent (B, C, T, H, W) in the tokens that the windows are for."""
        grid = video_grid(guider, samples, self.family)
        if grid[0] != self.plan.grid.shape[0]:
            raise ValueError(
                f"The windows were made for {self.plan.grid.shape[0]} frames of tokens, but this model sees "
                f"{grid[0]} at a time. Use the same context windows, or none, in the small and the large run."
            )
        if grid != self.plan.grid.shape:
            raise ValueError(
                f"The windows were made for {self.plan.grid.shape} tokens (frames, height, width), but "
                f"latent_image has {grid}. Connect the same latent to S²Flow Window Mask and to the sampler."
            )

    def begin_run(self) -> None:
        super().begin_run()
        # With a new run's hopes.
        self.chooser = BackendChooser(self.chooser.name, measured_rates(), self.sharing.by_device)

    def serves(self, forward: ForwardPass) -> bool:
        return self.plan.step_at(forward.sigma) is not None

    def finish_run(self) -> None:
        super().finish_run()
        if self.visited.possible:
            log.info(
                "S²Flow windows: attention density %.3f achieved, by %.3f of dense attention's work",
                self.visited.density,
                self.visited.work,
            )

    def attend(self, call: SelfAttentionCall) -> Tensor | None:
        if call.layout.grid != self.plan.grid.shape:
            self.fall_back(
                f"the windows are for {self.plan.grid.shape} tokens, this pass has {call.layout.grid}"
            )
            return None
        step = self.plan.step_at(call.sigma)
        if step is None:
            self.fall_back(f"sigma {call.sigma:.3f} lies outside the recorded steps")
            return None
        visited = VisitedKeys()
        try:
            out = window_attention(
                call.q,
                call.k,
                call.v,
                call.sequence(self.plan.grid),
                HeadWindows(self.plan.extents_at(step, call.layer), self.plan.tail),
                backend=self.chooser,
                stats=visited,
                installed=call.installed,
            )
        except WindowsCannotWin:
            out = None
        except WindowsNotApplicable as reason:
            self.fall_back(str(reason))
            return None
        self.run.serve(call.layer, visited)
        return out


def hook_for_windows(patcher: Any, windows: WindowPlan, backend: str) -> WindowedAttention:
    """A hook for one ModelPatcher; raises if the windows were made for a model of another depth or width."""
    family = require_family(patcher, "leave the windows out")
    model = diffusion_model(patcher)
    made_for = tuple(windows.extents.shape[1:3])
    given = (family.layers(model), family.heads(model))
    if made_for != given:
        raise ValueError(
            f"The windows were made for a model with {made_for[0]} layers of {made_for[1]} heads; this one "
            f"has {given[0]} of {given[1]}. Make the trajectory and the windows with this model."
        )
    return WindowedAttention(family, model, windows, backend)
