"""Many clips over many GPUs and machines: previews first, then large videos of those that were picked."""
