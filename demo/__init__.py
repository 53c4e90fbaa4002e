"""The small models: procedural clips, their training, and the measures they are held to."""
