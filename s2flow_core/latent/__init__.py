"""Flow arithmetic, noise, resizing, and the part of a latent that a mask holds."""
