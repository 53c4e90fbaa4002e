"""How the small model is sampled: one set of values for workflow, measures and benchmarks."""

STEPS = 50
# As the paper leaves.
STEPS_LEFT = 30
GUIDANCE = 4.0
SHIFT = 3.0
SCALE = 2.0
