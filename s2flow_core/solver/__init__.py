"""The higher-order solver, where its derivatives come from, and the steps it may leave out."""
