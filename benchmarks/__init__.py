"""Measurements that decide the pack's defaults; run one with `python -m benchmarks.<name>`."""
