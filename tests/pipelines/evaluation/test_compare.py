from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.compare import (
    compare_evaluations,
    comparison_lines,
    comparison_table,
)
from phosphene.schemas import WithinCategory

PIXCORR, SSIM, MSE = "pixcorr/strict-v1", "ssim/uniform7-v1", "mse/unit-range-v1"
NAMES = [f"scene-{number:02d}" for number in range(40)]


def noisy(centre: float, seed: int) -> list[float]:
    return (centre + 0.1 * np.random.default_rng(seed).standard_normal(len(NAMES))).tolist()


def test_a_planted_difference_is_found_and_none_where_there_is_none(make_result: Any) -> None:
    ours = noisy(0.5, 0)
    first = make_result("ours", NAMES, {PIXCORR: ours, SSIM: noisy(0.5, 2), MSE: noisy(0.3, 3)})
    theirs = [score - 0.05 + 0.02 * np.sin(row) for row, score in enumerate(ours)]
    second = make_result(
        "theirs", NAMES, {PIXCORR: theirs, SSIM: noisy(0.5, 4), MSE: noisy(0.5, 5)}
    )
    found = {row.id: row for row in compare_evaluations(first, second).differences}
    planted = found[PIXCORR]
    assert planted.difference == pytest.approx(np.mean(np.subtract(ours, theirs)))
    assert planted.interval[0] < planted.difference < planted.interval[1]
    assert planted.better == "first"
    assert found[SSIM].better == "neither"
    assert found[MSE].better == "first"  # lower is better there
    assert found[MSE].difference < 0


def test_pictures_are_paired_by_identifier_not_by_row(make_result: Any) -> None:
    scores = noisy(0.5, 0)
    order = np.random.default_rng(1).permutation(len(NAMES))
    first = make_result("a", NAMES, {PIXCORR: scores})
    second = make_result(
        "b", [NAMES[row] for row in order], {PIXCORR: [scores[row] - 0.01 for row in order]}
    )
    (row,) = compare_evaluations(first, second).differences
    assert row.interval == pytest.approx((0.01, 0.01))
    assert row.p_value < 0.001


def test_the_unit_is_the_picture(make_result: Any) -> None:
    """Three trials of two pictures are two pairs: no sign pattern of two is rare."""
    names = ["a"] * 3 + ["b"] * 3
    first = make_result("a", names, {PIXCORR: [0.9] * 6})
    second = make_result("b", names, {PIXCORR: [0.1] * 6})
    (row,) = compare_evaluations(first, second).differences
    assert row.n_pictures == 2
    assert row.p_value == 0.5
    assert row.better == "neither"


def test_correction_over_metrics_makes_no_p_smaller(make_result: Any) -> None:
    scores = {PIXCORR: 0.5, SSIM: 0.5, MSE: 0.5}
    first = make_result("a", NAMES, {k: noisy(v, i) for i, (k, v) in enumerate(scores.items())})
    second = make_result(
        "b", NAMES, {k: noisy(v + 0.03, 9 + i) for i, (k, v) in enumerate(scores.items())}
    )
    rows = compare_evaluations(first, second).differences
    smallest = min(rows, key=lambda row: row.p_value)
    assert smallest.corrected == pytest.approx(min(1, 3 * smallest.p_value))
    assert all(row.corrected >= row.p_value for row in rows)


def test_results_without_common_pictures_are_refused(make_result: Any) -> None:
    first = make_result("a", ["x", "y"], {PIXCORR: [1, 2]})
    second = make_result("b", ["u", "v"], {PIXCORR: [1, 2]})
    with pytest.raises(InputError, match=r"no picture in common .'x' here, 'u' there"):
        compare_evaluations(first, second)


def test_other_pictures_under_the_same_name_are_refused(make_result: Any) -> None:
    first = make_result("a", ["x", "y"], {PIXCORR: [1, 2]})
    second = make_result("b", ["x", "y"], {PIXCORR: [1, 2]}, contents={"y": "another"})
    with pytest.raises(InputError, match=r"1 identifiers stand for other pictures .* 'y'"):
        compare_evaluations(first, second)


def test_other_definitions_are_refused(make_result: Any) -> None:
    first = make_result("a", ["x", "y"], {PIXCORR: [1, 2]})
    second = make_result("b", ["x", "y"], {PIXCORR: [1, 2]}, spec={"antialias": False})
    with pytest.raises(InputError, match=r"pixcorr/strict-v1 is defined differently .*antialias"):
        compare_evaluations(first, second)
    other = make_result("b", ["x", "y"], {SSIM: [1, 2]})
    with pytest.raises(InputError, match="a has the metrics pixcorr/strict-v1 and b has ssim"):
        compare_evaluations(first, other)


def test_what_is_left_out_says_why(make_result: Any) -> None:
    both = {PIXCORR: noisy(0.5, 0)}
    first = make_result("a", NAMES, both | {SSIM: noisy(0.5, 1)})
    second = make_result("b", NAMES, both, averaging="mean of all repetitions")
    found = compare_evaluations(first, second)
    assert found.left_out == {SSIM: "only in a"}
    text = "\n".join(comparison_lines(found))
    assert "not compared: ssim/uniform7-v1 (only in a)" in text
    assert "averaging differs: single trials and mean of all repetitions" in text
    lines = comparison_table(found).splitlines()
    assert lines[0].split("\t")[:4] == ["metric", "first", "second", "difference"]
    assert len(lines) == 2


def test_controls_and_overlap_stand_beside_the_scores(make_result: Any) -> None:
    audit = {"line": "overlap: 3 of 40 test stimuli also stand in the training set"}
    scores = {PIXCORR: noisy(0.5, 0)}
    first = make_result("a", NAMES, scores, audit=audit | {"n_shared_stimuli": 3})
    second = make_result("b", NAMES, {PIXCORR: noisy(0.4, 1)})
    within = WithinCategory(value=0.48, interval=None, chance=0.5, n_items=40, collapsed=False)
    (metric,) = second.metrics
    known = metric.model_copy(update={"within_category": within})
    second = second.model_copy(update={"metrics": [known]})
    found = compare_evaluations(first, second)
    lines = comparison_lines(found)
    assert lines[3] == (
        "  grey picture 0 and 0, wrong pairing 0.1 and 0.1, p 0.01 and 0.01, "
        "within category – and 0.48"
    )
    assert f"a: {audit['line']}" in lines
    assert any(line.startswith("b: overlap: not known") for line in lines)
    head, row = (line.split("\t") for line in comparison_table(found).splitlines())
    cells = dict(zip(head, row, strict=True))
    assert (cells["grey_picture_first"], cells["permuted_p_second"]) == ("0", "0.01")
    assert (cells["within_category_first"], cells["within_category_second"]) == ("n/a", "0.48")
    assert cells["overlap_first"] == audit["line"]
    both = compare_evaluations(first, make_result("b", NAMES, {PIXCORR: noisy(0.4, 1)}))
    assert "within category" not in "\n".join(comparison_lines(both))
    head, row = (line.split("\t") for line in comparison_table(both).splitlines())
    assert dict(zip(head, row, strict=True))["within_category_first"] == "n/a"


def test_identification_among_other_pictures_is_no_pair(make_result: Any) -> None:
    spec = {"ties": "half"}
    first = make_result("a", NAMES, {PIXCORR: noisy(0.5, 0)}, spec=spec)
    second = make_result("b", NAMES[:30], {PIXCORR: noisy(0.5, 1)[:30]}, spec=spec)
    with pytest.raises(InputError, match="identified among other pictures"):
        compare_evaluations(first, second)
