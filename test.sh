#!/usr/bin/env bash
# Checks format, lint, types and imports, then runs every test in two processes. With arguments only pytest runs,
# with these arguments. COMFYUI_PATH names another ComfyUI to test against.
set -euo pipefail
# On a busy machine threads that wait by spinning take the time of those that work.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
source "$(dirname "${BASH_SOURCE[0]}")/setup/enter.sh" test
test_python="$("$python" -m setup test)"
if [[ $# -gt 0 ]]; then
  echo "Format, lint, type and import checks run only without arguments; now: pytest $*"
  exec "$test_python" -m pytest "$@"
fi
"$test_python" -m ruff format --check
"$test_python" -m ruff check
"$test_python" -m pyright
"$test_python" -m setup.arrows
exec "$test_python" -m pytest -n 2 --dist loadscope --cov --cov-report=term
