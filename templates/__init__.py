"""Writes the workflows for real models that ComfyUI lists, from its own definitions of the nodes."""
