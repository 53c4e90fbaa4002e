"""The command line of the Refiner's training: defaults, and wrong options answered in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.refiner.__main__ import parse_arguments, stage_list
from training.refiner.demo.training import DEMO_MAPPING
from training.refiner.loss import FlowMapping
from training.refiner.video_training import mapping_of

BAD_OPTIONS = {
    "--out x.safetensors --vae {file}": "give --demo, or --videos FOLDER",
    "--videos {folder} --out x.safetensors": "--videos needs --vae FILE",
    "--videos {folder}/no --out x.safetensors --vae {file}": "there is no folder",
    "--videos {folder} --out x.safetensors --vae {folder}/no": "there is no file .*, which --vae names",
    "--videos {folder} --out x.safetensors --vae {file} --clip {folder}/no": "which --clip names",
    "--videos {folder} --out x.safetensors --vae {file} --model {folder}/no": "which --model names",
    "--videos {folder} --out x --vae {file}": "must end in .safetensors",
    "--demo --out x": "must end in .safetensors",
    "--demo --noise-share 0.2": "--noise-share: --demo has a recipe of its own",
    "--demo --vae {file} --lora 4": "--lora, --vae: --demo has a recipe of its own",
    "--videos {folder} --out x.safetensors --vae {file} --steps 9": "--steps: .* has --stages",
    "--videos {folder} --out x.safetensors --vae {file} --lora 4": "--lora needs --model",
    "--videos {folder} --out x.safetensors --vae {file} --dim 100": "a multiple of 128",
    "--videos {folder} --out x.safetensors --vae {file} --scale 1": "must be above 1",
    "--videos {folder} --out x.safetensors --vae {file} --noise-levels 0.9 0.6": "must not exceed",
    "--videos {folder} --out x.safetensors --vae {file} --noise-share 2": "between 0 and 1",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_wrong_options_are_answered_with_a_sentence(tmp_path: Path, capsys, options: str):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        parse_arguments(options.format(folder=tmp_path, file=tmp_path / "file").split())
    assert re.search(BAD_OPTIONS[options], capsys.readouterr().err)


def test_a_training_on_videos_is_that_of_the_shipped_refiner_and_the_papers_can_be_chosen(tmp_path: Path):
    (tmp_path / "file").touch()
    given = f"--videos {tmp_path} --out x.safetensors --vae {tmp_path / 'file'}".split()
    shipped = FlowMapping(5.0, noise_levels=(0.6, 0.9), noise_share=0.4, drop_prompt=0.1, relative=True)
    assert mapping_of(parse_arguments(given)) == shipped
    paper = ["--noise-share", "1", "--no-relative"]
    assert mapping_of(parse_arguments(given + paper)) == FlowMapping()
    chosen = ["--noise-share", "0.5", "--noise-levels", "0.65", "0.75", "--drop-prompt", "0.2"]
    assert mapping_of(parse_arguments(given + chosen)) == FlowMapping(5.0, (0.65, 0.75), 0.5, 0.2, True)
    assert (DEMO_MAPPING.noise_share, DEMO_MAPPING.relative) == (0.4, True)


def test_stages_are_read_and_wrong_frame_counts_refused():
    assert stage_list("21:1000,81:4000") == [(21, 1000), (81, 4000)]
    with pytest.raises(Exception, match="must be 4n"):
        stage_list("20:10")
