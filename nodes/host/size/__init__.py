"""Enlarging a latent, in cells or in pixels, and conditioning that was made for a size."""
