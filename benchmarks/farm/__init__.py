"""What the farm's loop does with more workers than there are here."""
