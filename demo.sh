#!/usr/bin/env bash
# Makes a video with the whole S²Flow graph in a real ComfyUI and leaves it in output/; see README.md.
# COMFYUI_PATH (and COMFYUI_PYTHON) name an existing ComfyUI; S2FLOW_PORT the port (8188).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup/enter.sh" demo
host_python="$("$python" -m setup demo)"
exec "$host_python" -m demo.run_demo "$@"
