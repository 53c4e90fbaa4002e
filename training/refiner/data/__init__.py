"""Pairs of small and large clips from videos: what a Refiner is trained on."""
