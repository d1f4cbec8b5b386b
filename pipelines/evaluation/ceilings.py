"""Noise ceilings: how well the best model could do, for a stated number of trials."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.data.reliability import noise_ceiling, signal_to_noise

__all__ = ["noise_ceiling", "normalise_correlation", "signal_to_noise"]

Array = np.ndarray[Any, Any]


def normalise_correlation(
    correlation: Array, ncsnr: Array, n_trials: int, *, least: float = 0.05
) -> Array:
    """Return correlations with n-trial means as a share of the best possible one.

    Parameters
    ----------
    correlation, ncsnr : ndarray of shape (n_voxels,)
        Of predicted with measured responses, over pictures.
    n_trials : int
        Trials of each measured mean.
    least : float
        NaN for voxels whose ceiling is lower: division by nearly nothing says nothing.
    """
    ceiling = noise_ceiling(ncsnr, n_trials)
    safe = np.where(ceiling >= least, ceiling, np.nan)
    return np.asarray(np.asarray(correlation, dtype=float) / np.sqrt(safe))
