"""One file per way to compute windowed attention; each is imported when it first runs."""
