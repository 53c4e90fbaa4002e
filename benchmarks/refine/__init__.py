"""Previews by noise reshift, and the Refiner."""
