"""Speed, coverage and capture cost of windowed attention."""
