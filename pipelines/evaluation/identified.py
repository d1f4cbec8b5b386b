"""Identification of every prediction as every picture, from features a metric holds already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phosphene.pipelines.evaluation.pairing import correlation_matrix, win_scores
from phosphene.pipelines.metrics.specs import MetricSpec

__all__ = ["IdentifiedPairs", "is_identification"]

Array = np.ndarray[Any, Any]


def is_identification(spec: MetricSpec) -> bool:
    """Return whether an item's score depends on the other pictures it is told from."""
    return spec.kind == "picture" and spec.ties != "none"


class IdentifiedPairs:
    """Two-way identification of every prediction as if each picture had been shown.

    Permutations, and identification within categories, then cost an indexing each. The share of
    others that are beaten is tested also where the metric itself counts otherwise (first among
    n, or ties lost): the test has to be about the pairing, and is fair in any of these counts.
    """

    def __init__(self, spec: MetricSpec) -> None:
        self.spec = spec
        # For each item: the round's items in order, and the similarity of their truths to it.
        self._similarity: dict[int, list[tuple[list[int], Array]]] = defaultdict(list)

    def add(self, part: Sequence[int], metric: Any) -> None:
        """Take what a metric holds of one round, one item per picture, before it is reset."""
        _, states = metric.collected()
        predicted, truth = (states[name].cpu().numpy() for name in ("predicted", "truth"))
        similarity = correlation_matrix(predicted, truth)
        order = sorted(part)
        for column, row in enumerate(order):
            self._similarity[row].append((order, similarity[:, column]))

    def matrix(self, rows: Sequence[int], pictures: Sequence[str]) -> Array:
        """Return the score of every pairing, (n_pictures, n_pictures).

        Row p, column q: the share of other pictures that p beats for the predictions of q, mean
        over their items and samples. Pictures are in the order of their first row.

        Parameters
        ----------
        rows : sequence of int
            Items of the subject.
        pictures : sequence of str
            Of each of them.
        """
        columns, codes = self._columns(rows, pictures)
        wins = win_scores(columns)
        sums = np.zeros((len(columns), len(columns)))
        np.add.at(sums.T, codes, wins.T)
        return np.asarray(sums / np.bincount(codes))

    def within(
        self, rows: Sequence[int], pictures: Sequence[str], categories: Mapping[str, str]
    ) -> Array:
        """Return two-way identification of each item within its category, (n_items,).

        NaN for a picture that is alone in its category.
        """
        columns, codes = self._columns(rows, pictures)
        names = list(dict.fromkeys(pictures))
        wins = win_scores(columns, groups=[categories[name] for name in names])
        own = wins[codes, np.arange(len(codes))]
        owner = np.repeat(np.arange(len(rows)), [len(self._similarity[row]) for row in rows])
        return np.asarray(np.bincount(owner, weights=own) / np.bincount(owner))

    def _columns(self, rows: Sequence[int], pictures: Sequence[str]) -> tuple[Array, Array]:
        """Return similarities (n_pictures, n_predictions) and the picture of each column."""
        of_row = dict(zip(rows, pictures, strict=True))
        names = list(dict.fromkeys(pictures))
        place = {name: number for number, name in enumerate(names)}
        # Every round holds its pictures in the order of its rows; bring them into one order.
        found, codes = [], []
        for row in rows:
            for order, column in self._similarity[row]:
                arranged = np.empty(len(names))
                arranged[[place[of_row[other]] for other in order]] = column
                found.append(arranged)
                codes.append(place[of_row[row]])
        return np.stack(found, axis=1), np.asarray(codes)
