"""How far each head looks, and what a window would change: measured in the low-resolution run."""
