"""Noise ceilings: how well the best model could do, for a stated number of trials."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.types import Recording

__all__ = ["noise_ceiling", "normalise_correlation", "signal_to_noise"]

Array = np.ndarray[Any, Any]
ROUNDING = 1e-24  # of the mean square: what float64 leaves of differences that are none


def signal_to_noise(recording: Recording) -> Array:
    """Return the ratio of signal SD to noise SD of every voxel, from repeated pictures.

    The noise is the spread between trials of one picture; the signal is what the spread between
    means of pictures has beyond it (Allen et al. 2022, *Nat. Neurosci.* 25). Session effects
    count as noise: standardise sessions first.

    Returns
    -------
    ndarray of shape (n_voxels,) or (n_chans, n_times)
        0 where means of pictures vary no more than noise alone would; infinite where trials of a
        picture never differ and pictures do.

    Raises
    ------
    InputError
        If no picture was repeated or there is only one.
    """
    codes = np.unique(recording.trials["stimulus_id"].to_numpy(), return_inverse=True)[1]
    counts = np.bincount(codes)
    repeated = counts > 1
    if repeated.sum() < 2:
        raise InputError(
            f"{int(repeated.sum())} pictures with repetitions",
            expected="at least two, to tell signal from noise",
            remedy="take a recording whose pictures were shown repeatedly",
        )
    data = np.asarray(recording.data, dtype=np.float64).reshape(len(codes), -1)
    kept = repeated[codes]
    place = np.cumsum(repeated) - 1
    codes, data, counts = place[codes[kept]], data[kept], counts[repeated]
    means = np.zeros((len(counts), data.shape[1]))
    np.add.at(means, codes, data)
    means /= counts[:, None]
    noise = np.square(data - means[codes]).sum(axis=0) / (len(data) - len(counts))
    signal = np.maximum(means.var(axis=0, ddof=1) - noise * np.mean(1 / counts), 0)
    # Means of equal trials are off by rounding: that is no noise.
    noise = np.where(noise > ROUNDING * np.square(data).mean(axis=0), noise, 0)
    noiseless = np.where(signal > 0, np.inf, 0.0)
    ratio = np.sqrt(np.divide(signal, noise, out=noiseless, where=noise > 0))
    return np.asarray(ratio.reshape(recording.data.shape[1:]))


def noise_ceiling(ncsnr: Array | float, n_trials: int) -> Array:
    """Return the share of variance of n-trial means that signal is: ncsnr² / (ncsnr² + 1/n).

    1 for an infinite ratio.

    Examples
    --------
    >>> noise_ceiling(0.42, 1).round(2).item(), noise_ceiling(0.42, 3).round(2).item()
    (0.15, 0.35)
    """
    if n_trials < 1:
        raise UsageError(f"`n_trials` is {n_trials}", "1 or more")
    squared = np.square(np.asarray(ncsnr, dtype=float))
    finite = np.where(np.isinf(squared), 0, squared)
    return np.asarray(np.where(np.isinf(squared), 1.0, finite / (finite + 1 / n_trials)))


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
