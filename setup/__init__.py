"""What ./demo.sh and ./test.sh run first: it brings .venv and .comfyui into the pinned state.

Only the standard library is used here, because nothing else is installed yet.
"""
