"""From one size to another: always a clean estimate, the sigmas that are left, and a noise."""
