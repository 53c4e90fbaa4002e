# Sourced as `enter.sh demo|test`: enters the repository and sets $python to one that can run the set-up.

# Paths that the caller gave must survive the change of folder; a bare command name is left as it is.
for name in COMFYUI_PATH COMFYUI_PYTHON; do
  value="${!name:-}"
  if [[ "$value" == */* || "$name" == COMFYUI_PATH && -n "$value" ]] && [[ "$value" != /* ]]; then
    export "$name=$PWD/$value"
  fi
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=""
near_miss=""
fits='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
makes_environments='import ensurepip, venv'
candidates=(python3.12 python3.11 python3.10 python3 python .venv/bin/python)
if [[ "$1" == demo && -n "${COMFYUI_PATH:-}" ]]; then
  # An existing ComfyUI brings its own packages, so nothing is installed and newer versions will do.
  fits='import sys; sys.exit(sys.version_info < (3, 10))'
  makes_environments=''
  candidates+=(python3.14 python3.13 "${COMFYUI_PYTHON:-python3}")
fi
for candidate in "${candidates[@]}"; do
  if "$candidate" -c "$fits" >/dev/null 2>&1; then
    if "$candidate" -c "$makes_environments" >/dev/null 2>&1; then
      python="$candidate"
      break
    fi
    near_miss="$candidate"
  fi
done
if [[ -z "$python" ]]; then
  if [[ -n "$near_miss" ]]; then
    version="$("$near_miss" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    echo "Python $version is here but cannot make virtual environments: install its venv module" \
      "(on Debian and Ubuntu: apt install python$version-venv) and run the command again." >&2
  else
    echo "No suitable Python was found: S²Flow needs Python 3.10, 3.11 or 3.12. Install one of them so that" \
      "python3.12, python3.11, python3.10 or python3 starts it, and run the command again." >&2
  fi
  exit 1
fi
