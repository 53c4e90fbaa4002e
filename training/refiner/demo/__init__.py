"""Training of the small Refiner on the demo's clips."""
