"""How well the report of Window Mask foretells the large run."""
