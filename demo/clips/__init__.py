"""The procedural clips: scenes, their rendering, and what can be read off a clip."""
