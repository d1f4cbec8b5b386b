"""Voxels that answer a movie alike when it is shown twice (Wen et al. 2018).

For each segment the correlation of the two showings, Fisher's z of it, a t-test over segments
against 0 (greater), Bonferroni over voxels. Only training segments may be given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["FEWEST", "repeat_correlation", "reproducible_voxels"]

Array = np.ndarray[Any, Any]

FEWEST = 3  # segments a t-test needs to say anything
ALPHA = 0.05


def repeat_correlation(first: Array, second: Array) -> Array:
    """Return the correlation over time of each voxel (n_voxels,); 0 where it does not vary."""
    a, b = (np.asarray(part, dtype=np.float64) for part in (first, second))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    found: Array = np.divide((a * b).sum(axis=0), size, out=np.zeros(size.shape), where=size > 0)
    return np.clip(found, -1 + 1e-9, 1 - 1e-9)


def reproducible_voxels(correlations: Sequence[Array], *, alpha: float = ALPHA) -> Array:
    """Return which voxels are reproducible (n_voxels,) bool.

    Parameters
    ----------
    correlations : sequence of ndarray of shape (n_voxels,)
        Of each segment, see :func:`repeat_correlation`.
    alpha : float
        Of the corrected p-value.

    Raises
    ------
    InputError
        If there are fewer than three segments.
    """
    from scipy.stats import t as student

    if len(correlations) < FEWEST:
        raise InputError(
            f"{len(correlations)} segments that were shown twice",
            expected=f"at least {FEWEST}, to test voxels over segments",
            remedy="add segments, or keep all voxels",
        )
    z = np.arctanh(np.stack(correlations))
    spread = z.std(axis=0, ddof=1)
    mean, n = z.mean(axis=0), len(z)
    ratio = np.divide(mean, spread / np.sqrt(n), out=np.zeros_like(mean), where=spread > 0)
    corrected = student.sf(ratio, n - 1) * z.shape[1]
    chosen: Array = corrected < alpha
    return chosen
