"""Runs that go on after a crash: which run it is, and the file that keeps its state."""
