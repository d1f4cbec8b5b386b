"""Dots stand where the numbers are, and words say no more than the intervals do."""

from __future__ import annotations

from typing import Any

import pytest

from phosphene.pipelines.report.content import Curve, CurvePoint, Measure, Within
from phosphene.pipelines.report.panels import curve_plot, number, p_words, panel, verdict


def measure(**changes: Any) -> Measure:
    values: dict[str, Any] = {
        "id": "pixcorr/strict-v1",
        "name": "Pixel correlation",
        "identifies": False,
        "value": 0.5,
        "interval": (0.4, 0.6),
        "controls": {"wrong_pairing": 0.1, "grey_picture": 0.0, "mean_picture": 0.2},
        "higher_is_better": True,
        "n_items": 10,
    }
    return Measure(**(values | changes))


def value_at(plot: Any, x: float) -> float:
    """Read a value off the axis, as a person would."""
    (x0, word0), (x1, word1) = plot.ticks[0], plot.ticks[-1]
    return float(word0) + (x - x0) / (x1 - x0) * (float(word1) - float(word0))


def test_dots_and_intervals_can_be_read_off_the_axis() -> None:
    plot = panel(measure())
    assert [row.label for row in plot.rows] == [
        "This decoder", "Wrong pairing", "Grey picture", "Mean training picture",
    ]  # fmt: skip
    for row, value in zip(plot.rows, (0.5, 0.1, 0.0, 0.2), strict=True):
        assert value_at(plot, row.x) == pytest.approx(value, abs=1e-3)
    assert value_at(plot, plot.rows[0].low) == pytest.approx(0.4, abs=1e-3)
    assert value_at(plot, plot.rows[0].high) == pytest.approx(0.6, abs=1e-3)
    assert all(0 <= x <= 100 for x, _ in plot.ticks)
    assert 3 <= len(plot.ticks) <= 7


def test_shares_are_drawn_on_their_whole_range() -> None:
    plot = panel(measure(identifies=True, value=0.99, interval=(0.98, 1.0), controls={}))
    assert (plot.ticks[0], plot.ticks[-1]) == ((0.0, "0"), (100.0, "1"))
    assert plot.rows[0].x == 99


def test_controls_go_from_what_knows_nothing_to_ceilings() -> None:
    names = ("noise_ceiling", "something_new", "mean_picture", "truth_through_generator")
    plot = panel(measure(controls=dict.fromkeys((*names, "wrong_pairing"), 0.3)))
    assert [row.label for row in plot.rows] == [
        "This decoder", "Wrong pairing", "Mean training picture", "Something new",
        "Truth through the generator", "Noise ceiling",
    ]  # fmt: skip


def test_within_category_stands_under_the_score() -> None:
    plot = panel(measure(identifies=True, within=Within(0.7, (0.6, 0.8), 0.5)))
    assert [row.label for row in plot.rows[:2]] == ["This decoder", "Within category"]
    assert plot.rows[1].x == 70


def test_equal_numbers_have_an_axis() -> None:
    plot = panel(measure(value=0.0, interval=None, controls={"grey_picture": 0.0}))
    assert plot.rows[0].x == plot.rows[1].x
    assert 0 < plot.rows[0].x < 100


def test_what_could_not_be_computed_has_no_dot() -> None:
    plot = panel(measure(value=None, interval=None, controls={}, note="scikit-image is absent"))
    assert plot.rows == []
    assert plot.ticks == []
    assert plot.value == "–"
    assert plot.verdict == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "better than wrong pairing and simple rivals"),
        ({"controls": {"wrong_pairing": 0.1}}, "better than wrong pairing"),
        ({"controls": {"wrong_pairing": 0.4}}, "not told apart from wrong pairing"),
        ({"controls": {"wrong_pairing": 0.7}}, "worse than wrong pairing"),
        (
            {"controls": {"wrong_pairing": 0.1, "grey_picture": 0.45, "mean_picture": 0.7}},
            "better than wrong pairing, no better than mean training picture",
        ),
        (
            {"controls": {"wrong_pairing": 0.1, "nearest_training": 0.45}},
            "better than wrong pairing, not clearly than nearest training picture",
        ),
        # A test of the pairing sees more than an interval of the mean.
        ({"controls": {"wrong_pairing": 0.45}, "p_value": 0.001}, "better than wrong pairing"),
        (
            {"controls": {"wrong_pairing": 0.3}, "p_value": 0.2},
            "not told apart from wrong pairing",
        ),
        ({"higher_is_better": False}, "worse than wrong pairing"),
        (
            {"higher_is_better": False, "controls": {"wrong_pairing": 0.7, "grey_picture": 0.5}},
            "better than wrong pairing, no better than grey picture",
        ),
        ({"controls": {}}, ""),
        ({"interval": None}, ""),
    ],
)
def test_verdicts_go_by_the_interval(changes: dict[str, Any], words: str) -> None:
    assert verdict(measure(**changes)) == words


def test_numbers_and_p_values_in_words() -> None:
    assert [number(value) for value in (None, 0.5, 0.0042, 23.456, -0.25, -2e-5)] == [
        "–", "0.500", "0.0042", "23.46", "-0.250", "0.000",
    ]  # fmt: skip
    assert [p_words(value) for value in (None, 0.5, 0.001, 0.0009, 1.0)] == [
        "", "= .500", "= .001", "< .001", "= 1.000",
    ]  # fmt: skip


def test_a_curve_rises_where_the_scores_do() -> None:
    points = [CurvePoint(1, 0.6, (0.5, 0.7)), CurvePoint(2, 0.7), CurvePoint(4, 0.9)]
    plot = curve_plot(Curve("Identification", points, chance=0.5))
    x = [float(point["x"]) for point in plot.points]
    y = [float(point["y"]) for point in plot.points]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)  # doubling is one step
    assert y[0] > y[1] > y[2]  # y grows downwards
    assert plot.chance is not None
    assert plot.chance >= float(plot.points[0]["low"]) > y[0] > float(plot.points[0]["high"])
    one = curve_plot(Curve("One", [CurvePoint(3, 0.5)]))
    assert len(one.points) == 1
