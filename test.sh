#!/usr/bin/env bash
# Checks format, lint and types, then runs every test. With arguments only pytest runs, with these arguments.
# COMFYUI_PATH names another ComfyUI to test against.
set -euo pipefail
# On a busy machine threads that wait by spinning take the time of those that work.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
source "$(dirname "${BASH_SOURCE[0]}")/setup/enter.sh" test
test_python="$("$python" -m setup test)"
if [[ $# -gt 0 ]]; then
  echo "Format, lint and type checks run only without arguments; now: pytest $*"
  exec "$test_python" -m pytest "$@"
fi
"$test_python" -m ruff format --check
"$test_python" -m ruff check
"$test_python" -m pyright
exec "$test_python" -m pytest
