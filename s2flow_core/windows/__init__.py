"""The grid of tokens and tiles, and the extents of windows on it."""
