"""Matrices of pair scores: what every prediction would score with every truth.

From such a matrix chance, p-values and shuffles within categories cost an indexing each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError

__all__ = [
    "average_by_picture",
    "correlation_matrix",
    "pair_scores",
    "top_1_scores",
    "win_scores",
]

Array = np.ndarray[Any, Any]
Measure = Callable[[Array, Array], Array]
TIE = 1e-12  # rounding differs by a few units in the last place between equal rows of a product


def correlation_matrix(predicted: Array, truth: Array) -> Array:
    """Return Pearson's r of every truth (row) with every prediction (column).

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, ...)
        Features or pictures (uint8 is divided by 255); trailing axes are flattened.

    Returns
    -------
    ndarray of shape (n, n)
        0 beside a flat row.
    """
    if predicted.shape[1:] != truth.shape[1:]:
        raise InputError(
            f"predictions of shape {predicted.shape} beside truths of {truth.shape}",
            expected="items of equal shape",
        )
    return np.asarray(_unit_rows(truth) @ _unit_rows(predicted).T)


def win_scores(similarity: Array, *, groups: Sequence[Any] | Array | None = None) -> Array:
    """Return two-way identification of every pair: the share of other truths that are beaten.

    The diagonal is what :func:`two_way_identification` scores; off it stands what a prediction
    would score if it were of another picture. Ties count one half, so that a constant prediction
    scores .5 in every pairing.

    Parameters
    ----------
    similarity : ndarray of shape (n_truths, n)
        Of truth i (row) to prediction j (column).
    groups : sequence of length n_truths, optional
        Rivals of a truth are those of its group only (category).

    Returns
    -------
    ndarray of shape (n_truths, n)
        NaN in the rows of truths without a rival.
    """
    _check(similarity)
    scores = np.full(similarity.shape, np.nan)
    for rows in _members(len(similarity), groups):
        if len(rows) > 1:
            scores[rows] = (_ranks(similarity[rows]) - 1) / (len(rows) - 1)
    return scores


def top_1_scores(similarity: Array, *, groups: Sequence[Any] | Array | None = None) -> Array:
    """Return for every pair whether that truth comes first for that prediction; ties share.

    Parameters
    ----------
    similarity, groups
        As for :func:`win_scores`. The transpose tests image-to-brain retrieval.

    Returns
    -------
    ndarray of shape (n_truths, n)
        Columns sum to 1 in every group.
    """
    _check(similarity)
    scores = np.zeros(similarity.shape)
    for rows in _members(len(similarity), groups):
        part = similarity[rows]
        first = part >= part.max(axis=0) - TIE
        scores[rows] = first / first.sum(axis=0)
    return scores


def pair_scores(
    measure: Measure, predicted: Array, truth: Array, *, most_pairs: int = 250_000
) -> Array:
    """Return a metric of single pairs for every prediction with every truth.

    Parameters
    ----------
    measure : callable
        Takes predictions and truths (n, ...) and returns n scores, such as
        :func:`pixel_correlation`.
    predicted, truth : ndarray of shape (n, ...)
    most_pairs : int
        More are refused: the cost grows with the square of n.

    Returns
    -------
    ndarray of shape (n, n)
        Row i is of truth i, column j of prediction j.
    """
    n = len(truth)
    if predicted.shape != truth.shape:
        raise InputError(
            f"predictions of shape {predicted.shape} beside truths of {truth.shape}",
            expected="two arrays of equal shape",
        )
    if n * n > most_pairs:
        raise UsageError(
            f"{n} x {n} pairs to score",
            expected=f"at most {most_pairs}",
            remedy="permute a random part of the pictures, or raise `most_pairs`",
        )
    rows = [measure(predicted, np.broadcast_to(truth[i], truth.shape)) for i in range(n)]
    return np.stack(rows)


def average_by_picture(
    similarity: Array,
    pictures: Sequence[Any] | Array,
    *,
    score: Callable[..., Array] | None = None,
    groups: Sequence[Any] | Array | None = None,
) -> tuple[Array, Array]:
    """Return pair scores of pictures: the unit of every test is the picture, never the trial.

    Parameters
    ----------
    similarity : ndarray of shape (n, n)
        Of items, several of which may be of one picture: equal truths, other predictions.
    pictures : sequence of length n
    score : callable, optional
        :func:`win_scores` or :func:`top_1_scores`, among one truth per picture; by default the
        matrix holds scores already.
    groups : sequence of length n, optional
        For ``score``.

    Returns
    -------
    scores : ndarray of shape (n_pictures, n_pictures)
        Mean over the items of each picture.
    first : ndarray of shape (n_pictures,)
        The first item of each picture.
    """
    _, first, codes = np.unique(np.asarray(pictures), return_index=True, return_inverse=True)
    rows = similarity[first]
    if score is not None:
        rows = score(rows, groups=None if groups is None else np.asarray(groups)[first])
    sums = np.zeros((len(first), len(first)))
    np.add.at(sums.T, codes, rows.T)
    return sums / np.bincount(codes), first


def _check(similarity: Array) -> None:
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise InputError(
            f"similarities of shape {similarity.shape}", "a row per truth, a column per prediction"
        )
    if not np.isfinite(similarity).all():
        raise InputError("similarities that are not finite", "a number for every pair")


def _members(n: int, groups: Sequence[Any] | Array | None) -> list[Array]:
    if groups is None:
        return [np.arange(n)]
    labels = np.asarray(groups)
    if len(labels) != n:
        raise UsageError(f"{len(labels)} group labels for {n} items", "one per item")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _ranks(similarity: Array) -> Array:
    """Return ranks within columns, 1 the least similar; those that differ by rounding are tied."""
    from scipy.stats import rankdata

    order = np.argsort(similarity, axis=0, kind="stable")
    ordered = np.take_along_axis(similarity, order, axis=0)
    steps = np.zeros(similarity.shape, dtype=np.int64)
    steps[1:] = np.diff(ordered, axis=0) > TIE
    levels = np.empty_like(steps)
    np.put_along_axis(levels, order, np.cumsum(steps, axis=0), axis=0)
    return np.asarray(rankdata(levels, method="average", axis=0))


def _unit_rows(features: Array) -> Array:
    """Centre and normalise each row in float64; a flat row becomes zero and ties with all."""
    scale = 255.0 if features.dtype == np.uint8 else 1.0
    rows = np.asarray(features, dtype=np.float64).reshape(len(features), -1) / scale
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > TIE))
