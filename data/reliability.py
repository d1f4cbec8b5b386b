"""How reliably voxels respond: signal to noise of repeated pictures, in blocks of columns.

The noise is the spread between trials of one picture, the signal what means of pictures vary
beyond it (Allen et al. 2022, *Nat. Neurosci.* 25).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.types import Recording, VoxelSpace

__all__ = [
    "keep_reliable",
    "noise_ceiling",
    "reliable_voxels",
    "signal_to_noise",
    "signal_to_noise_of",
]

Array = np.ndarray[Any, Any]
ROUNDING = 1e-24  # of the mean square: what float64 leaves of differences that are none
BLOCK_BYTES = 64 * 2**20


def signal_to_noise(recording: Recording) -> Array:
    """Return the ratio of signal SD to noise SD of every voxel, from repeated pictures.

    Session effects count as noise: standardise sessions first.

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
    flat = recording.data.reshape(len(recording), -1)
    ratio = signal_to_noise_of(flat, recording.trials["stimulus_id"].to_numpy())
    return np.asarray(ratio.reshape(recording.data.shape[1:]))


def signal_to_noise_of(data: Array, pictures: Array) -> Array:
    """Return the ratio of every column, (n_columns,).

    Parameters
    ----------
    data : ndarray of shape (n_trials, n_columns)
        May be memory-mapped: read in blocks of columns.
    pictures : ndarray of shape (n_trials,)
        Which picture each trial shows.
    """
    codes = np.unique(np.asarray(pictures).astype(str), return_inverse=True)[1]
    counts = np.bincount(codes)
    repeated = counts > 1
    if repeated.sum() < 2:
        raise InputError(
            f"{int(repeated.sum())} pictures with repetitions",
            expected="at least two, to tell signal from noise",
            remedy="take a recording whose pictures were shown repeatedly",
        )
    rows = np.flatnonzero(repeated[codes])
    codes = (np.cumsum(repeated) - 1)[codes[rows]]
    counts = counts[repeated]
    step = max(1, BLOCK_BYTES // (8 * len(rows)))
    out = np.empty(data.shape[1])
    for start in range(0, data.shape[1], step):
        columns = slice(start, start + step)
        block = np.asarray(data[:, columns], dtype=np.float64)[rows]
        out[columns] = _ratio(block, codes, counts)
    return out


def _ratio(data: Array, codes: Array, counts: Array) -> Array:
    means = np.zeros((len(counts), data.shape[1]))
    np.add.at(means, codes, data)
    means /= counts[:, None]
    noise = np.square(data - means[codes]).sum(axis=0) / (len(data) - len(counts))
    signal = np.maximum(means.var(axis=0, ddof=1) - noise * np.mean(1 / counts), 0)
    # Means of equal trials are off by rounding: that is no noise.
    noise = np.where(noise > ROUNDING * np.square(data).mean(axis=0), noise, 0)
    noiseless = np.where(signal > 0, np.inf, 0.0)
    return np.asarray(np.sqrt(np.divide(signal, noise, out=noiseless, where=noise > 0)))


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


def reliable_voxels(data: Array, pictures: Array, training: Array, least: float) -> Array:
    """Return which columns reach a signal-to-noise ratio in repetitions of training pictures.

    Parameters
    ----------
    data : ndarray of shape (n_trials, n_columns)
        Standardised by session.
    pictures : ndarray of shape (n_trials,)
    training : ndarray of bool, (n_trials,)
    least : float
        Ratio of standard deviations; .2 is a single-trial noise ceiling of .04.

    Returns
    -------
    ndarray of int, increasing

    Raises
    ------
    InputError
        If no column reaches it: pictures made from such data would be invented.
    """
    if least < 0:
        raise UsageError(f"`reliability` is {least}", "0 or more")
    rows = np.flatnonzero(training)
    ratio = signal_to_noise_of(data[rows], np.asarray(pictures)[rows])
    kept = np.flatnonzero(ratio >= least)
    if not len(kept):
        raise InputError(
            f"no voxel reaches a signal-to-noise ratio of {least:g}; the best one has "
            f"{ratio.max():.3g}, a noise ceiling of {float(noise_ceiling(ratio.max(), 1)):.3f} "
            "for a single trial",
            expected="voxels that respond to the same picture alike",
            remedy="ask for less with --reliability, choose another region, or collect more "
            "repetitions: pictures decoded from such data would be invented",
        )
    return kept


def keep_reliable(recording: Recording, least: float) -> Recording:
    """Return the recording with the voxels that reach a ratio, see :func:`reliable_voxels`.

    Sessions are standardised for the choice alone; values stay as they are.
    """
    from phosphene.data.session_scaling import scale_groups

    space = recording.space
    if space is None:
        raise UsageError("--reliability without voxels", expected="a recording of fMRI")
    training = (recording.trials["split"] == "train").to_numpy()
    data = np.asarray(recording.data)
    scaled, _ = scale_groups(data, recording.trials["session"].tolist(), training)
    kept = reliable_voxels(scaled, recording.trials["stimulus_id"].to_numpy(), training, least)
    chosen = VoxelSpace(space.grid_shape, space.indices[kept], space.affine)
    return replace(recording, data=data[:, kept], space=chosen)
