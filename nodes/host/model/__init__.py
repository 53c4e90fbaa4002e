"""What the nodes ask about a model before anything expensive starts."""
