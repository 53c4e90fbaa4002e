"""S²Flow for ComfyUI: high-resolution video from models trained at half the size, without training."""

from __future__ import annotations

import logging

from .nodes.needed_version import refusal

TOO_OLD = refusal()

if TOO_OLD is None:
    from .nodes.extension import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
else:
    logging.getLogger(__name__).error(TOO_OLD)
    NODE_CLASS_MAPPINGS = {}
    __all__ = ["NODE_CLASS_MAPPINGS"]
