"""Which of two pictures was seen? Identification by similarity, ties counting one half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["IdentificationResult", "two_way_identification"]

Array = np.ndarray[Any, Any]
SAME = 1 - 1e-6  # correlation of two predictions that are one


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
        One half.
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
) -> IdentificationResult:
    """Compare each prediction with its own truth and with every other truth.

    For prediction j the comparison with truth i is won when ``r(truth_j, predicted_j) >
    r(truth_i, predicted_j)``, Pearson's r over features; a tie counts one half, so a constant
    prediction scores exactly .5.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, ...)
        Features or pictures; the trailing axes are flattened.
    groups : ndarray of shape (n,), optional
        Compare only within the same group (category), which is what tells decoding of a
        picture from decoding of its category.
    pictures : sequence of length n, optional
        Which picture each item is of; items of one picture are not compared with each other.
    """
    if predicted.shape != truth.shape or len(predicted) < 2:
        raise InputError(
            f"predictions of shape {predicted.shape} beside truths of {truth.shape}",
            expected="two arrays of equal shape with at least two items",
        )
    unit = _unit_rows(predicted)
    similarity = _unit_rows(truth) @ unit.T
    own = np.diag(similarity)
    difference = own[None, :] - similarity
    # Rounding differs by a few units in the last place between equal rows of a product.
    ties = np.abs(difference) <= 1e-12
    wins = np.where(ties, 0.5, difference > 0)
    allowed = ~np.eye(len(own), dtype=bool)
    if groups is not None:
        labels = np.asarray(groups)
        allowed &= labels[:, None] == labels[None, :]
    if pictures is not None:
        _, codes = np.unique(np.asarray(pictures), return_inverse=True)
        allowed &= codes[:, None] != codes[None, :]
    count = allowed.sum(axis=0)
    scores = np.where(count > 0, (wins * allowed).sum(axis=0) / np.maximum(count, 1), np.nan)
    idle = ties | (unit @ unit.T >= SAME)
    collapsed = bool(idle[allowed].mean() > 0.5) if allowed.any() else False
    return IdentificationResult(scores=scores, collapsed=collapsed)


def _unit_rows(features: Array) -> Array:
    """Centre and normalise each row; a flat row becomes zero and so ties with everything."""
    scale = 255.0 if features.dtype == np.uint8 else 1.0
    rows = np.asarray(features, dtype=np.float64).reshape(len(features), -1) / scale
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 1e-12))
