"""Windowed attention: `window_attention.py` is the door, `registry.py` lists the ways to compute it."""
