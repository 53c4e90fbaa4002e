"""The solver on flows whose solution is known."""
