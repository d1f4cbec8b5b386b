"""Bootstrap over pictures: the unit is the picture, never the trial."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["bootstrap_interval", "paired_bootstrap"]

Array = np.ndarray[Any, Any]
MAX_DRAWS = 2_000_000  # at a time: bounds the memory


def _resampled_means(scores: Array, pictures: Array | None, seed: int, n_resamples: int) -> Array:
    """Resample pictures with all their rows together; return the mean of each resample."""
    labels = np.arange(len(scores)) if pictures is None else np.asarray(pictures)
    _, codes = np.unique(labels, return_inverse=True)
    sums = np.bincount(codes, weights=scores)
    counts = np.bincount(codes).astype(float)
    generator = np.random.default_rng(seed)
    means = []
    for size in _parts(n_resamples, max(1, MAX_DRAWS // len(sums))):
        draws = generator.integers(0, len(sums), size=(size, len(sums)))
        means.append(sums[draws].sum(axis=1) / counts[draws].sum(axis=1))
    return np.concatenate(means)


def _parts(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def bootstrap_interval(
    scores: Array,
    *,
    pictures: Array | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 4000,
) -> tuple[float, float]:
    """Return the percentile interval of the mean score over pictures.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        NaN rows are left out.
    pictures : ndarray of shape (n,), optional
        Which picture each row is of; rows of one picture are drawn together.
    """
    kept = ~np.isnan(scores)
    if not kept.any():
        raise InputError("no scores to make an interval of", "at least one number")
    labels = None if pictures is None else np.asarray(pictures)[kept]
    means = _resampled_means(np.asarray(scores)[kept], labels, seed, n_resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    ours: Array,
    theirs: Array,
    *,
    pictures: Array | None = None,
    seed: int = 0,
    n_resamples: int = 4000,
) -> tuple[float, tuple[float, float], float]:
    """Compare two methods on the same pictures.

    Returns
    -------
    difference : float
        Mean of ``ours - theirs``.
    interval : (float, float)
        95 % percentile interval over pictures.
    p_value : float
        Two-sided: twice the smaller share of resamples on either side of zero.
    """
    difference = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    means = _resampled_means(difference, pictures, seed, n_resamples)
    low, high = np.quantile(means, [0.025, 0.975])
    side = min(float((means <= 0).mean()), float((means >= 0).mean()))
    p_value = min(1.0, 2 * max(side, 1 / n_resamples))
    return float(difference.mean()), (float(low), float(high)), p_value
