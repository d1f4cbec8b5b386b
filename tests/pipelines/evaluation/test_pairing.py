"""Pair scores agree with the metrics on their diagonal, ties and repeated pictures included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.pairing import (
    average_by_picture,
    correlation_matrix,
    pair_scores,
    top_1_scores,
    win_scores,
)
from phosphene.pipelines.metrics import (
    brain_to_image_retrieval,
    pixel_correlation,
    two_way_identification,
)

Array = np.ndarray[Any, Any]


@pytest.fixture
def pair() -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(20, 30))
    return truth + 1.5 * rng.normal(size=truth.shape), truth


def test_the_diagonal_is_two_way_identification(pair: tuple[Array, Array]) -> None:
    predicted, truth = pair
    predicted[5] = predicted[6]  # equal predictions
    truth[9] = truth[10]  # equal truths tie
    wins = win_scores(correlation_matrix(predicted, truth))
    expected = two_way_identification(predicted, truth).scores
    np.testing.assert_allclose(np.diag(wins), expected, atol=1e-12)
    groups = np.arange(20) % 3
    wins = win_scores(correlation_matrix(predicted, truth), groups=groups)
    expected = two_way_identification(predicted, truth, groups=groups).scores
    np.testing.assert_allclose(np.diag(wins), expected, atol=1e-12)
    assert np.isnan(win_scores(np.eye(3), groups=[0, 0, 1])[2]).all()


def test_every_place_is_what_that_pairing_would_score(pair: tuple[Array, Array]) -> None:
    predicted, truth = pair
    wins = win_scores(correlation_matrix(predicted, truth))
    order = np.random.default_rng(0).permutation(len(truth))
    permuted = two_way_identification(predicted, truth[order]).scores
    np.testing.assert_allclose(wins[order, np.arange(len(truth))], permuted, atol=1e-12)
    scored = pair_scores(pixel_correlation, *(x.reshape(20, 5, 6, 1) for x in pair))
    np.testing.assert_allclose(scored, correlation_matrix(predicted, truth), atol=1e-12)


def test_first_places_are_retrieval(pair: tuple[Array, Array]) -> None:
    predicted, truth = (x - x.mean(axis=1, keepdims=True) for x in pair)
    truth[3] = truth[4]  # tied: each takes the first place with one half
    first = top_1_scores(correlation_matrix(predicted, truth))
    np.testing.assert_allclose(
        np.diag(first), brain_to_image_retrieval(predicted, truth).top_k(1), atol=1e-12
    )
    np.testing.assert_allclose(first.sum(axis=0), 1)


def test_a_constant_prediction_is_at_chance_in_every_pairing(pair: tuple[Array, Array]) -> None:
    truth = pair[1]
    constant = np.broadcast_to(np.random.default_rng(1).normal(size=30), truth.shape)
    wins = win_scores(correlation_matrix(constant, truth))
    assert wins.mean() == pytest.approx(0.5, abs=1e-12)  # the same truths win for all
    flat = win_scores(correlation_matrix(np.ones_like(truth), truth))
    assert (flat == 0.5).all()
    assert (top_1_scores(correlation_matrix(np.ones_like(truth), truth)) == 1 / 20).all()


def test_items_of_one_picture_are_one(pair: tuple[Array, Array]) -> None:
    predicted, truth = pair
    names = [f"p{k:02d}" for k in range(20)]
    once = win_scores(correlation_matrix(predicted, truth))
    tripled, first = average_by_picture(
        correlation_matrix(np.tile(predicted, (3, 1)), np.tile(truth, (3, 1))),
        names * 3,
        score=win_scores,
    )
    np.testing.assert_allclose(tripled, once, atol=1e-12)
    assert first.tolist() == list(range(20))
    scores, first = average_by_picture(np.arange(9.0).reshape(3, 3), ["b", "a", "b"])
    assert scores.tolist() == [[4.0, 4.0], [1.0, 1.0]]
    assert first.tolist() == [1, 0]


def test_what_cannot_be_paired_is_refused(pair: tuple[Array, Array]) -> None:
    predicted, truth = pair
    with pytest.raises(InputError):
        correlation_matrix(predicted[:, :4], truth)
    with pytest.raises(InputError, match="not finite"):
        win_scores(np.array([[np.nan, 1], [0, 1]]))
    with pytest.raises(InputError, match="shape"):
        top_1_scores(np.zeros(3))
    with pytest.raises(UsageError, match="20 x 20 pairs"):
        pair_scores(pixel_correlation, predicted, truth, most_pairs=399)
    with pytest.raises(UsageError, match="2 group labels"):
        win_scores(np.eye(3), groups=[1, 2])
