"""The hooks that see a model's self-attention, and what they do with it."""
