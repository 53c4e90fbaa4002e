"""What the large run is going to take and keep, for the artist."""
