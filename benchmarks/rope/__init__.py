"""Positions at the large size: scaled, or left as they are."""
