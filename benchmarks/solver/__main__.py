"""What the LR record is worth to an ODE solver, on a flow whose exact solution is known.

    python -m benchmarks.solver [--quick] [--check] [--json FILE]

Tables: the order of every derivative source when LR = HR, the same with a half-size LR model, the pack's
real case (a few HR steps after a change of size), step skipping, and negative controls. Errors are
relative L2 distances to a fourth-order Runge-Kutta solution from the same start. A smaller ODE error is
not yet a better video: benchmarks/quality.py measures that.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.common.tables import add_report_options, report, where
from benchmarks.solver.tables import measure


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure the ODE solvers on an exact flow.")
    parser.add_argument("--quick", action="store_true", help="fewer starts and shifts, under a minute")
    add_report_options(parser)
    options = parser.parse_args()

    started = time.perf_counter()
    tables, problems = measure(options.quick)
    tables.insert(0, where())
    for table in tables:
        print(table.text(), end="\n\n")
    print(f"{time.perf_counter() - started:.0f} s")
    return report(tables, problems, options)


if __name__ == "__main__":
    sys.exit(main())
