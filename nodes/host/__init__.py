"""The only rooms that know ComfyUI's insides."""
