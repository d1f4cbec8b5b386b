"""Permutations keep to their runs, shifts to their length, and p-values mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.pairing import correlation_matrix, win_scores
from phosphene.pipelines.evaluation.permutation import (
    Permutations,
    circular_shifts,
    exchange_blocks,
    exchange_labels,
    p_value,
    permutation_test,
    permuted_statistic,
)

Array = np.ndarray[Any, Any]


def is_permutation(drawn: Permutations) -> bool:
    n = drawn.rows.shape[1]
    return bool((np.sort(drawn.rows, axis=1) == np.arange(n)).all())


@given(st.lists(st.integers(0, 3), min_size=5, max_size=30), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_labels_never_cross_runs(runs: list[int], seed: int) -> None:
    labels = np.array(runs)
    drawn = exchange_labels(len(runs), within=labels, n_permutations=20, seed=seed)
    assert is_permutation(drawn)
    assert (labels[drawn.rows] == labels).all()


def test_all_orders_are_equally_likely() -> None:
    drawn = exchange_labels(3, n_permutations=6000).rows
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("tr", [0.7, 1.6, 2.0])
def test_shifts_are_never_below_twenty_seconds(tr: float) -> None:
    runs = np.array(["b"] * 90 + ["a"] * 61)
    drawn = circular_shifts(151, tr=tr, runs=runs, n_permutations=300)
    assert is_permutation(drawn)
    assert (runs[drawn.rows] == runs).all()
    for run, offset in (("b", 0), ("a", 90)):
        members = np.flatnonzero(runs == run)
        length = len(members)
        shift = (drawn.rows[:, members] - offset - np.arange(length)) % length
        assert (shift == shift[:, :1]).all()  # one shift for the whole run
        around = np.minimum(shift, length - shift) * tr
        assert around.min() >= 20 - 1e-9
        assert len(np.unique(shift)) > length - 2 * np.ceil(20 / tr) - 8


def test_blocks_stay_whole_and_in_their_run() -> None:
    runs = np.repeat([1, 2], [53, 40])
    drawn = exchange_blocks(93, tr=2.0, runs=runs, n_permutations=100)
    assert is_permutation(drawn)
    assert (runs[drawn.rows] == runs).all()
    steps = np.diff(drawn.rows, axis=1)
    assert ((steps != 1).sum(axis=1) <= 5 + 3 + 1).all()  # breaks only between blocks of 10
    assert len(np.unique(drawn.rows, axis=0)) > 50


def test_what_may_not_be_permuted_is_refused() -> None:
    for wrong in (
        lambda: circular_shifts(100, tr=2.0, least_seconds=19.0),
        lambda: circular_shifts(100, tr=0.0),
        lambda: exchange_blocks(100, tr=2.0, block_seconds=10.0),
        lambda: exchange_labels(1),
        lambda: exchange_labels(3, within=["a", "b", "c"]),
        lambda: circular_shifts(100, tr=2.0, runs=[1, 2]),
    ):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(InputError, match="lasts 38 s"):
        circular_shifts(19, tr=2.0)
    with pytest.raises(InputError, match="one block of 20 s"):
        exchange_blocks(9, tr=2.0)
    with pytest.raises(InputError, match="pair scores"):
        permutation_test(np.zeros((3, 3)), exchange_labels(4))
    with pytest.raises(InputError, match="no pair"):
        permutation_test(np.full((3, 3), np.nan), exchange_labels(3))


def test_p_counts_the_real_pairing() -> None:
    assert p_value(1.0, np.zeros(99)) == 1 / 100
    assert p_value(0.0, np.zeros(99)) == 1.0
    assert p_value(0.3, np.array([0.1, 0.4]), higher_is_better=False) == 2 / 3
    # equal up to rounding counts as equal
    assert p_value(0.1 + 0.2, np.array([0.3] * 9)) == 1.0


def test_p_values_are_uniform_where_nothing_is_decoded() -> None:
    rng = np.random.default_rng(0)
    found = []
    for trial in range(200):
        truth, predicted = rng.normal(size=(2, 12, 20))
        scores = win_scores(correlation_matrix(predicted, truth))
        drawn = exchange_labels(12, n_permutations=199, seed=trial)
        found.append(permutation_test(scores, drawn).p_value)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.1


def test_p_is_small_where_something_is_decoded() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(40, 50))
    predicted = truth + 2 * rng.normal(size=truth.shape)
    scores = win_scores(correlation_matrix(predicted, truth))
    found = permutation_test(scores, exchange_labels(40, n_permutations=999))
    assert found.p_value == 1 / 1000
    assert found.observed > 0.8
    assert found.chance == pytest.approx(0.5, abs=0.01)
    distance = permutation_test(1 - scores, exchange_labels(40), higher_is_better=False)
    assert distance.p_value == 1 / 1001


def test_category_alone_is_not_found_within_categories() -> None:
    rng = np.random.default_rng(2)
    category = np.repeat(np.arange(4), 10)
    truth = 3 * rng.normal(size=(4, 50))[category] + rng.normal(size=(40, 50))
    predicted = truth[category * 10] + 0.5 * rng.normal(size=truth.shape)  # the category's first
    similarity = correlation_matrix(predicted, truth)
    anywhere = permutation_test(win_scores(similarity), exchange_labels(40))
    inside = permutation_test(
        win_scores(similarity, groups=category), exchange_labels(40, within=category)
    )
    assert anywhere.p_value < 0.002
    assert inside.p_value > 0.05
    assert inside.chance == pytest.approx(0.5, abs=0.02)


def test_a_constant_prediction_scores_chance_exactly() -> None:
    truth = np.random.default_rng(3).normal(size=(25, 10))
    flat = win_scores(correlation_matrix(np.ones_like(truth), truth))
    found = permutation_test(flat, exchange_labels(25))
    assert (found.observed, found.chance, found.p_value) == (0.5, 0.5, 1.0)
    one = np.broadcast_to(truth[0] + truth[1], truth.shape)
    found = permutation_test(win_scores(correlation_matrix(one, truth)), exchange_labels(25))
    assert found.observed == pytest.approx(0.5, abs=1e-12)
    assert found.p_value == 1.0
    np.testing.assert_allclose(found.null, 0.5, atol=1e-12)  # every pairing scores the same


def test_shifted_series_keep_their_autocorrelation() -> None:
    rng = np.random.default_rng(5)
    slow = [np.convolve(rng.normal(size=330), np.ones(31), "valid") for _ in range(2)]
    drawn = circular_shifts(300, tr=1.0, n_permutations=400)
    found = permuted_statistic(lambda rows: float(np.corrcoef(slow[0][rows], slow[1])[0, 1]), drawn)
    assert found.p_value > 0.05
    assert found.null.std() > 0.1  # exchanging samples would give .06
    assert found.rule == "each run shifted in a circle by at least 20 s"
    planted = permuted_statistic(
        lambda rows: float(np.corrcoef(slow[0][rows], slow[0] + 5 * slow[1] / 9)[0, 1]), drawn
    )
    assert planted.p_value < 0.02
