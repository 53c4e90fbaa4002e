"""The seconds that Window Mask foretells, against those that the large run takes, on the small model.

    python -m benchmarks.prediction [--rounds N] [--threads N] [--quick] [--check] [--json FILE]

At the demo's size, and at half as large again. One thread unless asked: on a busy machine several wait for
each other in small calls, the small run most. In every round the small run is measured anew.
"""

from __future__ import annotations

import argparse
import sys

import torch

from benchmarks.common.small_model import SmallModel
from benchmarks.common.tables import add_report_options, report, where
from benchmarks.prediction.runs import SIZES, measured_rounds
from benchmarks.prediction.tables import problems_of, table_of
from comfyui_runner.installation import computes_on, import_comfy


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the demo's size and one round")
    add_report_options(parser)
    options = parser.parse_args()
    import_comfy()
    torch.set_num_threads(options.threads)
    model = SmallModel()
    sizes, rounds = (SIZES[:1], 1) if options.quick else (SIZES, options.rounds)
    tables, problems = [where(computes_on())], []
    for size in sizes:
        rows = measured_rounds(model, size, rounds)
        tables.append(table_of(size, rows))
        print(tables[-1].text() + "\n", flush=True)
        problems += problems_of(size, rows)
    return report(tables, problems, options)


if __name__ == "__main__":
    sys.exit(main())
