"""One window per step, layer and head, chosen from what was measured."""
