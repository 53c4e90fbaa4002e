"""`python -m demo.run_demo`, which ./demo.sh calls."""
