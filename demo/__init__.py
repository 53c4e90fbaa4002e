"""The demo: procedural clips, the small models that ship with the pack, and a first video from them."""
