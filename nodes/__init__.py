"""The pack's nodes, one file per family."""
