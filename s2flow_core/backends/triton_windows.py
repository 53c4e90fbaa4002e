"""Windowed attention in one Triton launch over all heads: NVIDIA from Ampere on, and AMD."""

from __future__ import annotations

_LOG2_E = 1.4426950408889634
_LEAST_BLOCK = 16
