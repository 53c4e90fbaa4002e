"""The record of a low-resolution run, what writes it down, and its file."""
