"""Training of a Refiner: a light model that maps the latent of a small video to that of a large one."""
