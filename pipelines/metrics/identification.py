"""Which of several pictures was seen? Identification by similarity, ties counting one half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from phosphene.errors import InputError
from phosphene.pipelines.metrics.retrieval import RetrievalResult

__all__ = [
    "IdentificationResult",
    "allowed_pairs",
    "identify",
    "two_way_identification",
]

Array = np.ndarray[Any, Any]
Ties = Literal["half", "lose"]
Candidates = Literal["truths", "reconstructions"]


@dataclass(frozen=True, eq=False)
class IdentificationResult:
    """Share of comparisons won, for each reconstruction.

    Attributes
    ----------
    scores : ndarray of shape (n,)
        NaN where there was nothing to compare with.
    collapsed : bool
        True when more than half of all comparisons were ties or between items of (nearly) the
        same prediction: nothing is told apart there, and the score says nothing.
    chance : float
        One half, or one over the number of candidates.
    """

    scores: Array
    collapsed: bool
    chance: float = 0.5

    @property
    def mean(self) -> float:
        """Mean over the items that could be compared."""
        return float(np.nanmean(self.scores))


def two_way_identification(
    predicted: Array,
    truth: Array,
    *,
    groups: Array | None = None,
    pictures: Sequence[str] | Array | None = None,
    device: str = "cpu",
) -> IdentificationResult:
    """Compare each prediction with its own truth and with every other truth.

    For prediction j the comparison with truth i is won when ``r(truth_j, predicted_j) >
    r(truth_i, predicted_j)``, Pearson's r over features; a tie counts one half, so a constant
    prediction scores exactly .5.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, ...)
        Features or pictures; the trailing axes are flattened. float32 (and float16) is compared
        in float32, a block of columns at a time, so that 1,000 x 184,512 features need no copy;
        everything else in float64.
    groups : ndarray of shape (n,), optional
        Compare only within the same group (category), which is what tells decoding of a
        picture from decoding of its category.
    pictures : sequence of length n, optional
        Which picture each item is of; items of one picture are not compared with each other.
    device : str
        Where the products are made, a block of columns at a time.
    """
    from phosphene.pipelines.metrics.correlations import correlate

    if predicted.shape != truth.shape or len(predicted) < 2:
        raise InputError(
            f"predictions of shape {predicted.shape} beside truths of {truth.shape}",
            expected="two arrays of equal shape with at least two items",
        )
    found = correlate(_flat(truth), _flat(predicted), device=device)
    allowed = allowed_pairs(len(truth), groups=groups, pictures=pictures)
    return identify(found.matrix, allowed, copies=found.copies, tolerance=found.tolerance)


def identify(
    similarity: Array,
    allowed: Array,
    *,
    copies: Array,
    tolerance: float,
    ways: int = 2,
    ties: Ties = "half",
    candidates: Candidates = "truths",
) -> IdentificationResult:
    """Identify each item among others by a matrix of similarities.

    Parameters
    ----------
    similarity : ndarray of shape (n, n)
        Truth i with prediction j.
    allowed : ndarray of shape (n, n)
        Which items are compared, from :func:`allowed_pairs`.
    copies : ndarray of shape (n, n)
        Which predictions are the same one.
    tolerance : float
        Difference that is a tie.
    ways : int
        Candidates, the right one included. Expected score over all choices of the others, in
        closed form; two or more.
    ties : {"half", "lose"}
        ``half`` shares a tie fairly, so that guessing scores 1 / ``ways`` exactly.
    candidates : {"truths", "reconstructions"}
        ``truths`` asks for each prediction which truth it is of; ``reconstructions`` asks for
        each truth which prediction is of it. The two answers differ.
    """
    table = similarity if candidates == "truths" else similarity.T
    own = np.diag(table)
    better, tied = np.zeros((2, len(own)), dtype=np.int64)
    idle = 0
    for start in range(0, len(own), 256):  # columns: bounds the memory of many items
        columns = slice(start, start + 256)
        among, excess = allowed[:, columns], table[:, columns] - own[None, columns]
        same = np.abs(excess) <= tolerance
        tied[columns] = (same & among).sum(axis=0)
        better[columns] = ((excess > tolerance) & among).sum(axis=0)
        idle += int(((same | copies[:, columns]) & among).sum())
    if ties == "lose":
        better, tied = better + tied, np.zeros_like(tied)
    rivals = allowed.sum(axis=0)
    ranked = RetrievalResult("brain-to-image", better, tied, rivals)
    enough = ways <= int(rivals.max(initial=0)) + 1
    scores = ranked.top_1_among(ways) if enough else np.full(len(own), np.nan)
    return IdentificationResult(
        scores=scores, collapsed=bool(idle > 0.5 * rivals.sum()), chance=1 / ways
    )


def allowed_pairs(
    n: int,
    *,
    groups: Array | None = None,
    pictures: Sequence[str] | Array | None = None,
    once: bool = False,
) -> Array:
    """Return which candidates (rows) each of n items (columns) is compared with, (n, n) bool.

    Parameters
    ----------
    n : int
    groups, pictures
        As for :func:`two_way_identification`.
    once : bool
        Each other picture stands for one candidate, however many items are of it.
    """
    allowed = ~np.eye(n, dtype=bool)
    if groups is not None:
        labels = np.asarray(groups)
        allowed &= labels[:, None] == labels[None, :]
    if pictures is not None:
        _, first, codes = np.unique(np.asarray(pictures), return_index=True, return_inverse=True)
        allowed &= codes[:, None] != codes[None, :]
        if once:
            allowed &= np.isin(np.arange(n), first)[:, None]
    return allowed


def _flat(features: Array) -> Array:
    """Return one row per item; whole numbers become fractions, bytes those of 0..1."""
    rows = features.reshape(len(features), -1)
    if rows.dtype == np.uint8:
        return rows / 255.0
    return rows if rows.dtype.kind == "f" else rows.astype(np.float64)
