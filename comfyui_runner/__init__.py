"""A ComfyUI as a server and its client: for the demo, the tests and the benchmarks."""
