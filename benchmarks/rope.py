"""Rotary positions and attention temperature at twice the trained size, on the shipped small model.

    python -m benchmarks.rope [--seeds N] [--quick] [--json FILE]

Repetition: correlation of a clip with itself at the training size. The clips' ground is made of waves and
repeats by nature, so the small video merely enlarged is the row to compare with. Agreement: PSNR of the
shrunk clip to the small video. Detail: variance of the Laplacian. Object: share of seeds whose decoded pixels
show the prompt's colour and shape. These are figures of a small model on simple clips.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from torch import Tensor

from benchmarks.bootstrap import mean_interval
from benchmarks.repetition import agreement, fine_detail, repetition
from benchmarks.small_model import LowResRun, SmallModel
from benchmarks.tables import Table, where, write_json
from demo.clips import TRAIN_SIZE
from demo.generate import decode
from demo.host import import_comfy
from demo.measure import held_out_cases
from demo.observe import observe
from demo.vocabulary import Prompt
from s2flow_core.resample import resize_video
from s2flow_core.rotary import ROPE_MODES

SEEDS, QUICK_SEEDS = 16, 1
LOW_RES_STEPS, QUICK_STEPS = 20, 4
# Early and late: the more steps run at the large size, the more the positions matter.
STEPS_LEFT = (12, 18)
WINDOWS = (None, 0.5)

Row = dict[str, float]


def measured(clip: Tensor, small: Tensor, prompt: Prompt) -> Row:
    seen = observe(clip)
    return {
        "repetition": repetition(clip, TRAIN_SIZE),
        "agreement": agreement(clip, small),
        "detail": fine_detail(clip),
        "object": float((seen.color, seen.shape) == (prompt.color, prompt.shape)),
    }


def rows_of_seed(run: LowResRun, prompt: Prompt, steps_left: tuple[int, ...]) -> dict[str, Row]:
    """Every mode, with and without temperature and windows, from the same start."""
    models = run.model.models
    small = decode(models, run.trajectory.final.float())[0]  # (T, H, W, 3)
    side = 2 * TRAIN_SIZE
    rows = {"small video, enlarged": measured(resize_video(small, (side, side)), small, prompt)}
    for left in steps_left:
        triple = run.transition(left)
        for s in WINDOWS:
            windows = None if s is None else run.windows(triple[0], s, "paper")
            for rope in ROPE_MODES:
                for warm in (False, True):
                    settings = {"rope": rope, "attention_temperature": warm, "windows": windows}
                    result = run.high_res(triple, **settings)
                    name = f"t_i {left}, {'dense' if s is None else f's {s:.0%}'}, rope {rope}"
                    rows[name + (", temperature" if warm else "")] = measured(
                        decode(models, result.latent)[0], small, prompt
                    )
    return rows


def summary(seeds: list[dict[str, Row]]) -> Table:
    """Means over seeds, and the paired difference in repetition to the row without any change."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rows in seeds:
        for name, row in rows.items():
            for column, value in row.items():
                values[name][column].append(value)
    columns = ["repetition", "agreement", "detail", "object"]
    table = Table(
        "Positions and temperature at twice the trained size",
        ["run", *columns, "repetition minus none", "95 % interval"],
        note=f"{len(seeds)} held-out seeds, {TRAIN_SIZE}² to {2 * TRAIN_SIZE}², CPU.",
    )
    for name, row in values.items():
        plain = f"{name.split(', rope')[0]}, rope none"
        means = [sum(row[column]) / len(row[column]) for column in columns]
        if plain == name or plain not in values:
            table.add(name, *means, "", "")
            continue
        difference = torch.tensor(row["repetition"]) - torch.tensor(values[plain]["repetition"])
        mean, low, high = mean_interval(difference)
        table.add(name, *means, mean, f"{low:+.3f} ... {high:+.3f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    import_comfy()
    count = QUICK_SEEDS if arguments.quick else arguments.seeds
    steps = QUICK_STEPS if arguments.quick else LOW_RES_STEPS
    steps_left = (2,) if arguments.quick else STEPS_LEFT
    model = SmallModel()
    seeds = []
    with torch.inference_mode():
        for index, (prompt, _) in enumerate(held_out_cases(count)):
            seeds.append(rows_of_seed(model.low_res(index, steps), prompt, steps_left))
            print(f"seed {index + 1} of {count} done", flush=True)
    table = summary(seeds)
    print(table.text())
    if arguments.json:
        write_json(arguments.json, [where(), table], [])


if __name__ == "__main__":
    main()
