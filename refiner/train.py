"""Trains a Refiner.

    python -m refiner.train --demo
    python -m refiner.train --videos FOLDER --vae FILE [--model FILE] [--lora RANK] --out FILE

--demo makes the small Refiner that ships with the pack, from procedural clips, on a CPU. With --videos, every
clip of a folder is degraded and encoded once, then trained on; broken and too short files are skipped by
name. A stopped run goes on when it is started again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from demo import training
from demo.host import REFINER_FILE, WORK, import_comfy

from .flow_mapping import FlowMapping
from .light_model import add_lora, checkpoint_blocks, load_refiner, new_refiner, save_lora, save_refiner
from .pair_cache import PairCache
from .training_run import Batching, Stage, run_stages

DEMO_STEPS = 4000
# The small model has to tell clean and degraded starts apart; most artists give it clean ones.
DEMO_MAPPING = FlowMapping(noise_share=0.25, relative=True)


def train_demo(steps: int, work: Path = WORK, out: Path = REFINER_FILE) -> None:
    from .demo_data import encode_demo_pairs

    cache = PairCache(work / "refiner_pairs")
    encode_demo_pairs(cache)
    torch.manual_seed(0)
    model = new_refiner()

    def optimizer_of(module: torch.nn.Module) -> training.Optimizer:
        named = list(module.named_parameters())
        matrices = {value for name, value in named if name.startswith("blocks.") and value.ndim == 2}
        return training.MuonWithAdamW([value for _, value in named], matrices)

    schedule = training.Schedule(steps=steps, learning_rate=1.5e-3, warmup=100, decay_share=0.3)
    stages = [Stage(latent_frames=5, steps=steps)]
    batching = Batching(count=8, crop=16)
    average = run_stages(model, model, optimizer_of, cache, stages, schedule, DEMO_MAPPING, batching, work)
    save_refiner(average, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="train the small Refiner of the demo")
    parser.add_argument("--steps", type=int, default=DEMO_STEPS, help="steps of --demo")
    parser.add_argument("--threads", type=int, help="CPU threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    import_comfy()
    train_demo(arguments.steps)


if __name__ == "__main__":
    main()
