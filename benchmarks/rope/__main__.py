"""Rotary positions and attention temperature at twice the small video's size, on the shipped small model.

    python -m benchmarks.rope [--seeds N] [--share I/N] [--quick] [--check] [--json FILE]

Every run starts from the small videos of benchmarks.quality, and its columns have that benchmark's meaning.
Repetition: correlation of a clip with itself at the training size. The clips' ground is made of waves and
repeats by nature, so the small video merely enlarged is the row to compare with. Every finished seed is kept
in demo/work/, so a stopped run goes on where it was. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
import sys

import torch

from benchmarks.common.fast_host import import_fast_comfy
from benchmarks.common.kept_rows import KeptRows, Rows, add_share_option, share_of
from benchmarks.common.small_model import SmallModel, digest_of
from benchmarks.common.tables import add_report_options, report, where
from benchmarks.quality.runs import Seed
from benchmarks.rope.runs import QUICK_STEPS_LEFT, STEPS_LEFT, rows_of_seed
from benchmarks.rope.tables import problems_of, summary
from comfyui_runner.installation import computes_on
from demo.files import DIT_FILE, VAE_FILE, WORK

SEEDS = 16


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed and few steps")
    add_share_option(parser)
    add_report_options(parser)
    options = parser.parse_args()
    import_fast_comfy()
    count, steps_left = (1, QUICK_STEPS_LEFT) if options.quick else (options.seeds, STEPS_LEFT)
    model = SmallModel()
    digest = digest_of(DIT_FILE, VAE_FILE)
    kept = KeptRows(None if options.quick else WORK / f"rope_{digest}.jsonl", computes_on())

    def rows_of(index: int) -> Rows:
        return rows_of_seed(Seed(model, index, WORK / f"quality_{digest}"), steps_left)

    with torch.inference_mode():
        kept.measure("rope", share_of(count, options), rows_of)
    seeds = list(kept.of("rope").values())
    if not seeds:
        raise SystemExit("no seed has been measured yet")
    tables = summary(seeds)
    print("\n\n".join(table.text() for table in tables))
    return report([where(computes_on(), kept), *tables], problems_of(seeds), options)


if __name__ == "__main__":
    sys.exit(main())
