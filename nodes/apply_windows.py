"""S²Flow Apply Windows: windowed attention under any sampler."""

from __future__ import annotations

from comfy_api.latest import io

from ..s2flow_core.attention.registry import BACKENDS
from ..s2flow_core.plan.window_plan import WindowPlan
from .host.attention.feed_forward import BY_FREE_MEMORY, FeedForwardChunks
from .host.attention.windows import hook_for_windows
from .host.found_by import found_by
from .host.inputs import CATEGORY, WindowsType, advanced, feed_forward_input, gpus_input
from .host.model.checks import require_flow_model
from .host.model.devices import gpus_to_use


class S2FlowApplyWindows(io.ComfyNode):
    """The windows alone, inside a model, for any sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="S2FlowApplyWindows",
            **found_by("sparse attention", "window attention", "faster", "speed up", "attention patch"),
            display_name="S²Flow Apply Windows",
            category=CATEGORY,
            description=(
                "Puts the windows of S²Flow Window Mask into a model, for any sampler. The windows of a step "
                "are found by its sigma; outside the recorded steps attention stays dense."
            ),
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model that samples the large video; it is not changed, a copy is."
                ),
                WindowsType.Input(
                    "windows",
                    tooltip="From S²Flow Window Mask: fewer tokens to look at, so less time for every step.",
                ),
                advanced(
                    io.Combo.Input(
                        "backend",
                        options=["auto", *BACKENDS],
                        default="auto",
                        tooltip=(
                            "How windowed attention is computed; auto takes the fastest. triton_windows_int8 "
                            "rounds queries and keys to eight bits; auto takes it only where the attention "
                            "that you have (Sage) does so too."
                        ),
                    )
                ),
                feed_forward_input(),
                gpus_input(),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with windowed attention, for the guider of any sampler.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        windows: WindowPlan,
        backend: str = "auto",
        feed_forward_chunks: int = BY_FREE_MEMORY,
        gpus: int = 1,
    ) -> io.NodeOutput:
        require_flow_model(model)
        patched = model.clone()
        hook = hook_for_windows(patched, windows, backend)
        hook.feed_forward = FeedForwardChunks(feed_forward_chunks)
        hook.feed_forward.require_known(hook.family, hook.model)
        hook.sharing.gpus = gpus_to_use(gpus)
        patched.model_options = hook.attach(patched.model_options)
        return io.NodeOutput(patched)
