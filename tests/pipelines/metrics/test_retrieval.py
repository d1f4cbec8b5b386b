from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    brain_to_image_retrieval,
    image_to_brain_retrieval,
)

Array = np.ndarray[Any, Any]
BOTH = (brain_to_image_retrieval, image_to_brain_retrieval)


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(5).normal(size=(9, 4, 5))


@pytest.mark.parametrize("retrieve", BOTH)
def test_the_right_one_comes_first(retrieve: Any, truth: Array) -> None:
    result = retrieve(3 * truth, truth)  # a cosine does not see the length
    assert result.ranks.tolist() == [1.0] * 9
    assert result.mean_rank == 1
    assert result.top_k(1).tolist() == result.top_1_among(4).tolist() == [1.0] * 9
    opposite = retrieve(-truth, truth)
    assert opposite.ranks.tolist() == [9.0] * 9
    assert opposite.top_k(8).tolist() == [0.0] * 9
    assert opposite.top_k(9).tolist() == opposite.top_k(20).tolist() == [1.0] * 9
    assert result.chance() == pytest.approx(1 / 9)
    assert result.chance(5) == pytest.approx(5 / 9)
    assert result.chance(20) == 1


def test_the_directions_differ() -> None:
    """With pictures as axes the cosines are the numbers: rows are brains, columns pictures."""
    truth = np.eye(3)
    predicted = np.array([[0.6, 0.8, 0], [0.28, 0, 0.96], [0, 0, 1]])
    forward = brain_to_image_retrieval(predicted, truth)
    assert forward.direction == "brain-to-image"
    # Brain 0: .6 against .8 and 0. Brain 1: 0 against .28 and .96. Brain 2: 1 against 0 and 0.
    assert forward.ranks.tolist() == [2, 3, 1]
    backward = image_to_brain_retrieval(predicted, truth)
    assert backward.direction == "image-to-brain"
    # Picture 0: .6 against .28 and 0. Picture 1: 0 against .8 and 0, a tie. Picture 2: 1.
    assert backward.ranks.tolist() == [1, 2.5, 1]
    assert backward.top_k(1).tolist() == [1, 0, 1]
    assert backward.top_k(2).tolist() == [1, 0.5, 1]
    swapped = brain_to_image_retrieval(truth, predicted)
    assert swapped.ranks.tolist() == backward.ranks.tolist()


@pytest.mark.parametrize("retrieve", BOTH)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_constant_prediction_scores_chance_exactly(
    retrieve: Any, truth: Array, dtype: Any
) -> None:
    constants = np.zeros_like(truth), np.broadcast_to(truth[3] + 0.1, truth.shape)
    for constant in constants:
        result = retrieve(constant.astype(dtype), truth.astype(dtype))
        assert result.mean_rank == pytest.approx(5)
        for k in (1, 2, 5, 9):
            assert result.top_k(k).mean() == pytest.approx(k / 9, abs=1e-12)
        for pool in range(1, 10):
            assert result.top_1_among(pool).mean() == pytest.approx(1 / pool, abs=1e-12)
    nothing = retrieve(np.zeros_like(truth), truth)
    assert nothing.top_k(5).tolist() == [5 / 9] * 9


def test_without_ties_a_smaller_pool_is_hypergeometric() -> None:
    """Rank r among n, pool m: C(n - r, m - 1) / C(n - 1, m - 1)."""
    cosines = np.array([[0.5, 0.6, 0.1, 0.2, 0.3], *np.eye(5)[1:]])
    result = brain_to_image_retrieval(cosines, np.eye(5))
    assert result.ranks[0] == 2
    for pool in range(1, 6):
        expected = comb(3, pool - 1) / comb(4, pool - 1)
        assert result.top_1_among(pool)[0] == pytest.approx(expected, abs=1e-15)
    np.testing.assert_allclose(result.top_1_among(5), result.top_k(1))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(2, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(-2, 2), min_size=n, max_size=n), min_size=n,
                           max_size=n)
    )
)  # fmt: skip
def test_closed_forms_equal_enumeration(rows: list[list[int]]) -> None:
    """Every pool and every order of ties, one by one; whole numbers make many ties."""
    similarity = np.array(rows, dtype=float)
    n = len(similarity)
    result = brain_to_image_retrieval(similarity, np.eye(n))
    for row, values in enumerate(similarity):
        own, rivals = values[row], np.delete(values, row)
        for pool in range(1, n + 1):
            wins = [
                0.0 if max(drawn, default=own - 1) > own else 1 / (1 + list(drawn).count(own))
                for drawn in combinations(rivals, pool - 1)
            ]
            assert result.top_1_among(pool)[row] == pytest.approx(np.mean(wins), abs=1e-12)
        places = (rivals > own).sum() + 1 + np.arange((rivals == own).sum() + 1)
        assert result.ranks[row] == places.mean()
        for k in range(1, n + 1):
            assert result.top_k(k)[row] == pytest.approx((places <= k).mean(), abs=1e-12)


@pytest.mark.parametrize("retrieve", BOTH)
def test_permuting_items_permutes_scores(retrieve: Any, truth: Array) -> None:
    rng = np.random.default_rng(2)
    noisy = truth + 2 * rng.normal(size=truth.shape)
    order = rng.permutation(9)
    one, two = retrieve(noisy, truth), retrieve(noisy[order], truth[order])
    assert 1 < one.mean_rank < 5
    np.testing.assert_array_equal(one.ranks[order], two.ranks)
    np.testing.assert_array_equal(one.top_1_among(3)[order], two.top_1_among(3))
    low, high = bootstrap_interval(one.top_k(5))
    assert low <= one.top_k(5).mean() <= high


def test_ranks_are_those_of_the_whole_matrix() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(600, 40)).astype(np.float32)
    predicted = truth + 3 * rng.normal(size=truth.shape).astype(np.float32)
    unit = [x.astype(float) / np.linalg.norm(x, axis=1, keepdims=True) for x in (predicted, truth)]
    cosines = unit[0] @ unit[1].T
    expected = 1 + (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    result = brain_to_image_retrieval(predicted, truth)
    assert result.ranks.tolist() == expected.tolist()
    assert 10 < result.mean_rank < 300


@pytest.mark.parametrize("length", [16_383, 16_384, 16_385, 40_000])
def test_every_number_of_a_long_embedding_counts(length: int) -> None:
    """Item i differs from the others in one place alone, the last ones before or after 16,384."""
    places = np.array([0, length // 2, min(16_383, length - 2), length - 1])
    truth = np.zeros((4, length), np.float32)
    truth[np.arange(4), places] = 1
    assert brain_to_image_retrieval(truth, truth).ranks.tolist() == [1.0] * 4


def test_groups_and_repeated_pictures_narrow_the_pool() -> None:
    """Two trials of each of three pictures; the pool is three pictures, whatever was predicted."""
    truth = np.repeat(np.eye(3), 2, axis=0)
    names = ["a", "a", "b", "b", "c", "c"]
    constant = np.broadcast_to([0.9, 0.5, 0.1], truth.shape)
    result = brain_to_image_retrieval(constant, truth, pictures=names)
    assert result.rivals.tolist() == [2] * 6
    assert result.ranks.tolist() == [1, 1, 2, 2, 3, 3]
    assert result.top_k(1).mean() == pytest.approx(1 / 3)
    assert result.top_1_among(2).mean() == pytest.approx(1 / 2)
    perfect = brain_to_image_retrieval(truth, truth, pictures=names)
    assert perfect.top_k(1).tolist() == [1.0] * 6
    # Without names, two equal candidates share.
    assert brain_to_image_retrieval(truth, truth).top_k(1).tolist() == [0.5] * 6
    grouped = brain_to_image_retrieval(
        constant[::2], np.eye(3), groups=np.array(["beast", "thing", "thing"])
    )
    assert grouped.rivals.tolist() == [0, 1, 1]
    assert grouped.top_k(1).tolist() == [1, 1, 0]
    np.testing.assert_array_equal(grouped.top_1_among(2), [np.nan, 1, 0])
    assert grouped.chance() == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_large_pools_stay_exact() -> None:
    """Counts far beyond floating point, where the quotient is plain: rank r of n, pool of two."""
    rng = np.random.default_rng(1)
    n = 1200
    similarity = rng.normal(size=(n, n))
    result = brain_to_image_retrieval(similarity, np.eye(n))
    np.testing.assert_allclose(
        result.top_1_among(2), (n - result.ranks) / (n - 1), rtol=1e-14, atol=0
    )
    first = result.ranks == 1
    half = result.top_1_among(600)
    assert half[first].tolist() == [1.0] * int(first.sum())
    second = result.ranks == 2
    np.testing.assert_allclose(half[second], (n - 600) / (n - 1), rtol=1e-14)


def test_what_cannot_be_searched(truth: Array) -> None:
    for predicted, shown in ((truth[:8], truth), (truth[:1], truth[:1]), (truth[:, 0, 0],) * 2):
        with pytest.raises(InputError, match="at least two"):
            brain_to_image_retrieval(predicted, shown)
    broken = truth.copy()
    broken[2, 1] = np.nan
    for retrieve in BOTH:
        with pytest.raises(InputError, match="not finite"):
            retrieve(broken, truth)
    result = brain_to_image_retrieval(truth, truth)
    for pool in (0, 10):
        with pytest.raises(UsageError, match=f"`pool` is {pool}"):
            result.top_1_among(pool)
    with pytest.raises(UsageError, match="`k` is 0"):
        result.top_k(0)
