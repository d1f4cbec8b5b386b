"""Identification of every prediction as every picture, from features a metric holds already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phosphene.pipelines.metrics.identification import allowed_pairs, identify
from phosphene.pipelines.metrics.retrieval import RetrievalResult
from phosphene.pipelines.metrics.specs import MetricSpec

__all__ = ["IdentifiedPairs", "is_identification"]

Array = np.ndarray[Any, Any]
ROUNDING = 1e-6  # of correlations of float32 features


def is_identification(spec: MetricSpec) -> bool:
    """Return whether an item's score depends on the other pictures it is told from."""
    return spec.kind == "picture" and spec.ties != "none"


class IdentifiedPairs:
    """What a metric scores for every prediction as if each picture had been shown.

    In the metric's own terms (first among n, ties lost, wins taken off), so that wrong pairings
    stand on the scale of the score. Permutations then cost an indexing each. Identification
    within categories has two ways in any of them, with chance .5: categories are small.

    Parameters
    ----------
    categories : mapping of str to str, optional
        Of each picture.
    """

    def __init__(self, categories: Mapping[str, str] | None = None) -> None:
        self.categories = categories
        # For each item: its score as each picture, in the sorted order of all of them.
        self._wins: dict[int, list[Array]] = defaultdict(list)
        self._within: dict[int, list[float]] = defaultdict(list)

    def add(self, part: Sequence[int], pictures: Sequence[str], metric: Any) -> None:
        """Take what a metric holds of one round, one item per picture, before it is reset.

        Parameters
        ----------
        part : sequence of int
            Rows of the items, in the order of their labels.
        pictures : sequence of str
            What each of them is of.
        metric : FeatureIdentification
        """
        _, order = metric.order()
        similarity, copies = metric.correlations(order)
        level = np.round(similarity / ROUNDING)  # equal features differ by rounding
        by_truth = metric.candidates == "truths"
        wins = _scores(level, metric) if by_truth else _scores(level.T, metric).T
        wins = wins[np.argsort(np.asarray(pictures))]
        for column, row in enumerate(part):
            self._wins[row].append(wins[:, column])
        if self.categories is None:
            return
        groups = np.asarray([self.categories[name] for name in pictures])
        found = identify(
            similarity,
            allowed_pairs(len(part), groups=groups),
            copies=copies,
            tolerance=ROUNDING,
            candidates=metric.candidates,
        )
        for row, score in zip(part, found.scores.tolist(), strict=True):
            self._within[row].append(score)

    def matrix(self, rows: Sequence[int], pictures: Sequence[str]) -> Array:
        """Return the score of every pairing, (n_pictures, n_pictures).

        Row p, column q: what the predictions of q score if p had been shown, mean over their
        items and samples. Pictures are sorted.

        Parameters
        ----------
        rows : sequence of int
            Items of the subject.
        pictures : sequence of str
            Of each of them.
        """
        names = sorted(set(pictures))
        place = {name: number for number, name in enumerate(names)}
        sums, counts = np.zeros((len(names), len(names))), np.zeros(len(names))
        for row, picture in zip(rows, pictures, strict=True):
            for column in self._wins[row]:
                sums[:, place[picture]] += column
                counts[place[picture]] += 1
        return np.asarray(sums / counts)

    def within(self, rows: Sequence[int]) -> Array | None:
        """Return two-way identification of each item within its category, (n_items,).

        NaN for a picture that is alone in its category; ``None`` where categories are unknown.
        """
        if self.categories is None:
            return None
        return np.array([np.mean(self._within[row]) for row in rows])


def _scores(level: Array, metric: Any) -> Array:
    """Return what each candidate (row) scores for each query (column) if it is the right one."""
    from scipy.stats import rankdata

    n = len(level)
    worse, at_most = (
        rankdata(level, method=method, axis=0).astype(np.int64) for method in ("min", "max")
    )
    worse -= 1
    better, tied = n - at_most, at_most - worse - 1
    if metric.ties == "lose":
        better, tied = better + tied, np.zeros_like(tied)
    codes, place = np.unique(better * n + tied, return_inverse=True)
    counts = RetrievalResult("brain-to-image", codes // n, codes % n, np.full(len(codes), n - 1))
    scores = counts.top_1_among(metric.ways)[place.reshape(level.shape)]
    return np.asarray(scores - metric.wins_taken_off / (n - 1))
