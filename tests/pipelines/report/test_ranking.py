"""Best, median and worst follow from the scores alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phosphene.pipelines.report.ranking import Ranking, rank_items

TWO_WAY, CORRELATION = "two-way-pixels/strict-v1", "pixcorr/strict-v1"
HIGHER = {TWO_WAY: True, CORRELATION: True, "mse/unit-range-v1": False}


def test_identification_ranks_before_other_scores_and_correlation_breaks_ties() -> None:
    scores = {
        "mse/unit-range-v1": [0.0, 0.1, 0.2, 0.3],
        CORRELATION: [0.1, 0.9, 0.5, 0.5],
        TWO_WAY: [1.0, 0.5, 1.0, 1.0],
    }
    found = rank_items(scores, HIGHER, {TWO_WAY})
    assert found == Ranking((2, 3, 0, 1), TWO_WAY, CORRELATION)


def test_lower_is_better_where_it_is() -> None:
    found = rank_items({"mse/unit-range-v1": [0.2, 0.1, 0.3]}, HIGHER, {TWO_WAY})
    assert found == Ranking((1, 0, 2), "mse/unit-range-v1", "")


def test_items_without_a_score_are_not_ranked() -> None:
    found = rank_items({TWO_WAY: [None, 0.5, 1.0]}, HIGHER, {TWO_WAY})
    assert found is not None
    assert found.order == (2, 1)
    assert rank_items({TWO_WAY: [None, None]}, HIGHER, {TWO_WAY}) is None
    assert rank_items({}, HIGHER, set()) is None


@given(st.permutations(range(9)))
def test_a_permutation_of_items_permutes_the_ranking(order: list[int]) -> None:
    scores = np.array([0.5, 0.9, 0.1, 0.7, 0.3, 0.2, 0.6, 0.8, 0.4])
    one = rank_items({TWO_WAY: scores.tolist()}, HIGHER, {TWO_WAY})
    two = rank_items({TWO_WAY: scores[order].tolist()}, HIGHER, {TWO_WAY})
    assert one is not None
    assert two is not None
    assert [order[item] for item in two.order] == list(one.order)


@given(st.integers(1, 40), st.integers(1, 5))
def test_exemplars_are_the_ends_and_the_middle(n: int, count: int) -> None:
    order = tuple(range(n))
    found = Ranking(order, "r").exemplars(count)
    kept = min(count, n // 3)
    if kept == 0:
        assert found == {}
        return
    assert found["best"] == list(order[:kept])
    assert found["worst"] == list(order[-kept:])
    middle = found["median"]
    assert abs(sum(middle) / kept - (n - 1) / 2) <= 0.5  # around the median rank
    assert len({*found["best"], *middle, *found["worst"]}) == 3 * kept


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_a_spread_holds_both_ends_and_no_item_twice(most: int) -> None:
    order = tuple(np.random.default_rng(0).permutation(50).tolist())
    found = Ranking(order, "r").spread(most)
    assert len(found) == len(set(found)) == min(most, 50)
    assert found[0] == order[0]
    assert most == 1 or found[-1] == order[-1]
    gaps = np.diff([order.index(item) for item in found])
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
