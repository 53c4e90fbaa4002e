"""Runs a guider with the pack's samplers the way core does."""
