"""What windows, solver and t_i do to the small model's videos."""
