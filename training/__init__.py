"""Training of small and light models; what an artist installs never imports it."""
