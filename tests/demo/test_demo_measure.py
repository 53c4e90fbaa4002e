"""The figures that the small models are held to."""

from __future__ import annotations

import math

import pytest

from demo.clips.detail import enlarged, smaller
from demo.clips.grounds import as_many_waves
from demo.clips.looks import Looks, looks_of
from demo.clips.observe import observe
from demo.clips.scenes import draw_scene, render
from demo.clips.styles import STYLE
from demo.measure import Measure, Reconstruction, held_out_cases, look_measures, true_looks, word_measures


@pytest.mark.parametrize(
    ("value", "least", "most", "met"),
    [
        (32, 32, None, True),
        (31.9, 32, None, False),
        (1.1, None, 1.1, True),
        (1.11, None, 1.1, False),
        (0.5, 0.6, 1.2, False),
        (1, 0.6, 1.2, True),
        (math.nan, 1, None, False),
        (math.nan, None, 1, False),
        (7, None, None, True),
    ],
)
def test_a_figure_is_held_to_its_bars(value, least, most, met):
    measure = Measure("name", value, "x", least=least, most=most)
    assert measure.met is met
    assert ("FALLS SHORT" in str(measure)) is not met


def test_a_line_names_bars_and_truth():
    line = str(Measure("ghost", 1.25, "x", most=1.1, truth=0.99))
    assert "at most 1.1  FALLS SHORT  truth 0.99" in line
    assert "met" not in str(Measure("blotches", 1.0, "%"))


def test_renderings_meet_every_bar_of_words():
    cases = held_out_cases(6)
    observations = [observe(render(draw_scene(seed, prompt))) for prompt, seed in cases]
    measures = word_measures(observations, cases)
    assert [measure.value for measure in measures] == [100] * 5
    others = [(cases[number - 1][0], seed) for number, (_, seed) in enumerate(cases)]
    assert not all(measure.met for measure in word_measures(observations, others))


def test_detail_is_what_half_the_size_cannot_show():
    scene = draw_scene(1)
    clip = render(scene, 64)
    assert Reconstruction(scene, clip, clip).detail == 1
    assert Reconstruction(scene, clip, enlarged(smaller(clip))).detail < 0.2
    half = (clip + enlarged(smaller(clip))) / 2
    assert 0.2 < Reconstruction(scene, clip, half).detail < 0.5


def test_looks_are_averaged_beside_the_truth():
    looks = [Looks(8.4, 1.2, None, 0.02), Looks(16.0, None, 1.4, 0.04)]
    figures = {m.name: (m.value, m.truth) for m in look_measures(looks, [Looks(8.0, 1.0, 1.0, 0.01)])}
    assert figures["waves per frame height as clips have"] == (50, 100)
    assert figures["raggedness of outlines"] == (1.2, 1.0)
    assert figures["ghost in first frames"] == (1.4, 1.0)
    assert figures["blotches on the ground"] == pytest.approx((3, 1))


def test_the_truth_looks_as_drawn():
    cases = held_out_cases(3)
    for looks in true_looks(cases):
        assert as_many_waves(looks.waves, *STYLE.leading_waves)
        assert looks.raggedness == pytest.approx(1, abs=0.12)
        assert looks.ghost == pytest.approx(1, abs=0.25)
        assert looks.blotches < 0.02
    grey = render(draw_scene(1))[:, :8, :8].repeat(1, 16, 16, 1)
    assert looks_of(grey, observe(grey)).ghost is None
