from __future__ import annotations

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.pipelines.metrics import bootstrap_interval, paired_bootstrap


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """240 draws of 40 pictures: 95 % +- 3 standard errors of a binomial, less the known bias."""
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(240):
        low, high = bootstrap_interval(rng.normal(0.3, 1, 40), n_resamples=600)
        covered += low <= 0.3 <= high
    assert 0.89 <= covered / 240 <= 0.985


def test_the_interval_is_that_of_the_normal_theory() -> None:
    scores = np.random.default_rng(3).normal(size=400)
    low, high = bootstrap_interval(scores)
    half = 1.96 * scores.std() / np.sqrt(400)
    assert low == pytest.approx(scores.mean() - half, abs=0.01)
    assert high == pytest.approx(scores.mean() + half, abs=0.01)
    narrow = bootstrap_interval(scores, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_seeds_make_intervals_repeatable() -> None:
    scores = np.random.default_rng(3).normal(size=30)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that nobody touches it is the test
    assert bootstrap_interval(scores, seed=4) == bootstrap_interval(scores, seed=4)
    assert bootstrap_interval(scores, seed=4) != bootstrap_interval(scores, seed=5)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_trials_of_a_picture_are_drawn_together() -> None:
    """Repeating every row makes nothing more certain when the picture is the unit."""
    scores = np.random.default_rng(3).normal(size=25)
    once = bootstrap_interval(scores)
    repeated = np.repeat(scores, 8)
    same = bootstrap_interval(repeated, pictures=np.repeat(np.arange(25), 8))
    assert same == pytest.approx(once)
    naive = bootstrap_interval(repeated)
    assert naive[1] - naive[0] < 0.5 * (once[1] - once[0])


def test_rows_without_a_score_are_left_out() -> None:
    scores = np.array([0.1, np.nan, 0.5, 0.2])
    names = np.array(["a", "b", "c", "d"])
    expected = bootstrap_interval(scores[[0, 2, 3]])
    assert bootstrap_interval(scores) == expected
    assert bootstrap_interval(scores, pictures=names) == expected
    with pytest.raises(InputError, match="no scores"):
        bootstrap_interval(np.array([np.nan]))


def test_paired_differences() -> None:
    rng = np.random.default_rng(9)
    theirs = rng.normal(size=60) * 5  # pictures differ much more than the methods do
    ours = theirs + 0.4 + 0.1 * rng.normal(size=60)
    difference, (low, high), p_value = paired_bootstrap(ours, theirs)
    assert difference == pytest.approx((ours - theirs).mean())
    assert 0.35 < low < difference < high < 0.45
    assert p_value <= 2 / 4000
    backwards, (low2, high2), p_back = paired_bootstrap(theirs, ours)
    assert (backwards, low2, high2, p_back) == pytest.approx((-difference, -high, -low, p_value))
    assert paired_bootstrap(theirs, theirs)[2] == 1
    assert paired_bootstrap(rng.normal(size=60), rng.normal(size=60))[2] > 0.01
