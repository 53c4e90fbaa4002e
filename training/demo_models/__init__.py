"""Training of the small VAE and DiT: `python -m training.demo_models vae|dit`."""
