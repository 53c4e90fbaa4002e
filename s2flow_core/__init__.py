"""S²Flow without ComfyUI: flow arithmetic, windows, attention, solvers and the trajectory that joins them."""
