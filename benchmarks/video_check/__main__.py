"""Check Video on good runs of the demo and on the same runs spoiled on purpose.

    python -m benchmarks.video_check [--runs N] [--share I/N] [--quick] [--check]
        [--json FILE] [--work FOLDER]

Good is right where the verdict is `Fine.`; spoiled is right where its fault is named. What was measured is
kept in the work folder, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.common.fast_host import import_fast_comfy
from benchmarks.common.kept_rows import KeptRows, add_share_option, share_of
from benchmarks.common.small_model import SmallModel, digest_of
from benchmarks.common.tables import add_report_options, report, where
from benchmarks.video_check.runs import measured_ways
from benchmarks.video_check.tables import kinds_table, problems_of, verdict_table
from comfyui_runner.installation import computes_on
from demo.clips import spoiled
from demo.files import DIT_FILE, VAE_FILE, WORK
from demo.settings import STEPS, STEPS_LEFT
from s2flow_core.video_check import measures

RUNS = 16
SOURCES = (Path(measures.__file__), Path(spoiled.__file__))
QUICK = (2, 8, 3)  # runs, steps, steps left


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--quick", action="store_true", help="two runs of few steps, nothing kept")
    add_share_option(parser)
    parser.add_argument("--work", type=Path, default=WORK / "video_check", metavar="FOLDER")
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    model = SmallModel()
    runs, steps, left = QUICK if options.quick else (options.runs, STEPS, STEPS_LEFT)
    # Figures of another measure or of other spoilers are never mixed with these.
    file = options.work / f"{digest_of(DIT_FILE, VAE_FILE, *SOURCES)}.jsonl"
    kept = KeptRows(None if options.quick else file, computes_on())
    recipe = f"{steps} steps, t_i {left}"
    with torch.inference_mode():
        kept.measure(recipe, share_of(runs, options), lambda index: measured_ways(model, index, steps, left))
    found = [rows for index, rows in kept.of(recipe).items() if index < runs]
    if not found:
        raise SystemExit("no run has been measured yet")
    tables = [kinds_table(found, recipe), verdict_table(found)]
    print("\n\n".join(table.text() for table in tables))
    return report([where(computes_on(), kept), *tables], problems_of(found), options)


if __name__ == "__main__":
    sys.exit(main())
