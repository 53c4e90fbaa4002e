#!/usr/bin/env bash
# Makes a video with the whole S²Flow graph in a real ComfyUI and leaves it in output/; see README.md.
# COMFYUI_PATH (and COMFYUI_PYTHON) name an existing ComfyUI; S2FLOW_PORT the port (8188).
set -euo pipefail
# On a busy machine threads that wait by spinning take the time of those that work.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
source "$(dirname "${BASH_SOURCE[0]}")/setup/enter.sh" demo
host_python="$("$python" -m setup demo)"
exec "$host_python" -m demo.run_demo "$@"
