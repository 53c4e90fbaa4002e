"""The files of the demo: the small models that ship with the pack, and its work folder."""

from __future__ import annotations

import os
from pathlib import Path

from comfyui_runner.installation import ROOT

MODELS = ROOT / "demo" / "models"
# Trainings take hours; S2FLOW_WORK keeps their checkpoints where no checkout is deleted with them.
WORK = Path(os.environ.get("S2FLOW_WORK") or ROOT / "demo" / "work")
# Named like ComfyUI's model folders, so that each loader lists its own file only.
VAE_FILE = MODELS / "vae" / "s2flow_demo_wan_vae.safetensors"
DIT_FILE = MODELS / "diffusion_models" / "s2flow_demo_wan_t2v.safetensors"
REFINER_FILE = MODELS / "diffusion_models" / "s2flow_demo_wan_refiner.safetensors"
