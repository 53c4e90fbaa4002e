"""S²Flow for ComfyUI: high-resolution video from models trained at half the size, without training."""

from __future__ import annotations

from .nodes.extension import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
