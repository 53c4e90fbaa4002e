"""How the small model is sampled: one set of values for workflow, measures and benchmarks."""

STEPS = 50
# The paper leaves 30; from there this small model draws a new object instead of refining the small video's.
STEPS_LEFT = 12
GUIDANCE = 4.0
SHIFT = 3.0
SCALE = 2.0
