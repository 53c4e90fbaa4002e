"""What a large run costs, counted and timed."""
