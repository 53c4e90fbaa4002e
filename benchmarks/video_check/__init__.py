"""Whether Check Video tells good runs of the demo from spoiled ones."""
