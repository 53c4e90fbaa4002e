"""Triton source, and nothing else; imported only by the backends, and only when a device can run it."""
