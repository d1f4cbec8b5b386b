from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.pipelines.metrics import two_way_identification

Array = np.ndarray[Any, Any]


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(5).normal(size=(7, 4, 5))


def test_identity_wins_every_comparison(truth: Array) -> None:
    result = two_way_identification(truth, truth)
    assert result.scores.tolist() == [1.0] * 7
    assert result.mean == 1
    assert not result.collapsed
    # Pearson's r does not see scale or offset.
    assert two_way_identification(3 * truth + 2, truth).mean == 1
    assert two_way_identification(-truth, truth).mean == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_the_same_prediction_for_all_is_a_coin(truth: Array, dtype: Any) -> None:
    shown = (40 * truth + 120).astype(dtype)
    for constant in (np.full_like(shown, 128), np.broadcast_to(shown[2], shown.shape)):
        result = two_way_identification(constant, shown)
        # A flat prediction ties everywhere; one picture for all wins as often as it loses.
        assert result.mean == pytest.approx(0.5, abs=1e-12)
    flat = two_way_identification(np.full_like(shown, 128), shown)
    assert flat.scores.tolist() == [0.5] * 7
    assert flat.collapsed
    assert flat.chance == 0.5


def test_one_picture_for_all_is_flagged(truth: Array) -> None:
    """Its comparisons are no ties, yet nothing was told apart."""
    constant = np.broadcast_to(truth[2], truth.shape)
    result = two_way_identification(constant, truth)
    assert result.mean == pytest.approx(0.5)
    assert result.collapsed


def test_each_prediction_is_compared_with_all_truths() -> None:
    """The two directions differ here: row scores are 1, .5, .5 and columns .5, .5, 1."""
    truth = np.array([[1.0, 0, 0, -1], [0, 1, -1, 0], [1, 1, -1, -1]])
    predicted = np.array([[1.0, 0.2, 0, -1], [1, 1.1, -1, -1], [1, 1, -1, -1]])

    def unit(rows: Array) -> Array:
        rows = rows - rows.mean(axis=1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    r = unit(truth) @ unit(predicted).T  # rows are truths, columns predictions
    own = np.diag(r)
    others = ~np.eye(3, dtype=bool)
    by_prediction = [(own[j] > r[others[:, j], j]).mean() for j in range(3)]
    by_truth = [(own[i] > r[i, others[i]]).mean() for i in range(3)]
    assert by_prediction != by_truth
    assert np.mean(by_prediction) != np.mean(by_truth)
    np.testing.assert_allclose(two_way_identification(predicted, truth).scores, by_prediction)


def test_groups_restrict_the_comparisons(truth: Array) -> None:
    # Decoding the category alone: every prediction is the mean of its group.
    groups = np.array([0, 0, 0, 1, 1, 1, 2])
    means = np.stack([truth[groups == g].mean(axis=0) for g in groups])
    within = two_way_identification(means, truth, groups=groups)
    assert np.isnan(within.scores[6])  # alone in its group
    assert within.mean == pytest.approx(0.5)
    assert within.collapsed
    assert two_way_identification(means, truth).mean > 0.7
    own = two_way_identification(truth, truth, groups=groups)
    assert own.scores[:6].tolist() == [1.0] * 6


def test_permuting_items_permutes_scores(truth: Array) -> None:
    noisy = truth + np.random.default_rng(1).normal(size=truth.shape)
    order = np.random.default_rng(2).permutation(7)
    one = two_way_identification(noisy, truth).scores
    two = two_way_identification(noisy[order], truth[order]).scores
    np.testing.assert_array_equal(one[order], two)


def test_shapes_have_to_agree(truth: Array) -> None:
    for predicted, shown in ((truth[:6], truth), (truth[:1], truth[:1])):
        with pytest.raises(InputError, match="at least two"):
            two_way_identification(predicted, shown)
