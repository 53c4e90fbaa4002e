"""The attention engine beside everything else that can compute the same attention, in one run.

    python -m benchmarks.attention [--device cpu|cuda] [--quick] [--check] [--json FILE]
        [--tune] [--flex] [--only PART ...] [--seconds N]

Every result is checked against the definition in float32 before anything is timed. Columns: time, TFLOP/s on
the work really done, speed against the fastest dense kernel, the share of the ideal 1/s that is reached, and
the relative L2 error to dense attention, which is what the windows themselves cost. Inputs are random, and
captured from the shipped small model, which is the only way to tell what windows lose.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from benchmarks.attention.cuda import measure_cuda
from benchmarks.attention.results import Results
from benchmarks.attention.tables import measure_cpu
from benchmarks.common.tables import add_report_options, report, where


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default the GPU, where there is one")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases, under a minute")
    parser.add_argument("--tune", action="store_true", help="also time the kernel's launch configurations")
    parser.add_argument(
        "--flex", action="store_true", help="FlexAttention on a GPU too; it compiles for long"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="parts whose name holds a word")
    parser.add_argument("--seconds", type=float, help="begin no part later than this")
    add_report_options(parser)
    options = parser.parse_args()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA GPU here, so none was measured; use --device cpu.")

    results = Results(options.json, tuple(options.only), options.seconds)
    with torch.inference_mode():
        results.add(where(device))
        if device == "cuda":
            measure_cuda(results, options.quick, options.tune, options.flex)
        else:
            if options.tune or options.flex:
                results.tell("--tune and --flex are for a GPU; on a CPU they change nothing.")
            measure_cpu(results, options.quick)
    results.tell_of_unknown_words()
    print(f"{time.perf_counter() - results.started:.0f} s")
    return report(results.tables, results.problems, options)


if __name__ == "__main__":
    sys.exit(main())
