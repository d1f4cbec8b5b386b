"""Z-scores within a session (or a run), with mean and spread of its training trials alone.

It is affine, so data that somebody standardised before, with whichever trials, come out as if
the betas had been standardised here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["scale_groups", "standardise"]

Array = np.ndarray[Any, Any]


def standardise(block: Array, training: Array, *, where: str) -> Array:
    """Return a block z-scored by its training rows, float32; constant columns become zero.

    Parameters
    ----------
    block : ndarray of shape (n_trials, n_voxels)
    training : ndarray of bool, (n_trials,)
    where : str
        Such as "session 3", for messages.

    Raises
    ------
    InputError
        If fewer than two rows are of training, or a value is not finite.
    """
    if int(training.sum()) < 2:
        raise InputError(
            f"{where} has {int(training.sum())} training trials",
            expected="at least two, from which mean and spread are taken",
            remedy="leave it out, or do not standardise by session (--normalise none)",
        )
    if not np.isfinite(block).all():
        bad = int((~np.isfinite(block)).any(axis=0).sum())
        raise InputError(
            f"{where} holds NaN or infinity in {bad} of {block.shape[1]} voxels",
            expected="a finite number everywhere",
            remedy="leave those voxels out with --roi",
        )
    rows = np.asarray(block[training], dtype=np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    floor = 1e-6 * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > floor)
    return np.asarray((block - mean) * inverse, dtype=np.float32)


def scale_groups(
    data: Array, groups: Sequence[Any], training: Array, *, unit: str = "session"
) -> tuple[Array, list[str]]:
    """Return data z-scored group by group, and the groups that had no training trials of their own.

    Such a group takes mean and spread of all training trials, as nothing may be learned from
    test trials.

    Parameters
    ----------
    data : ndarray of shape (n_trials, n_voxels)
    groups : sequence of length n_trials
        Session or run of every trial.
    training : ndarray of bool, (n_trials,)
    unit : str
        What a group is called.
    """
    labels = np.asarray(groups).astype(str)
    out = np.empty(data.shape, dtype=np.float32)
    lacking = []
    for label in dict.fromkeys(labels.tolist()):
        rows = np.flatnonzero(labels == label)
        if training[rows].sum() >= 2:
            out[rows] = standardise(data[rows], training[rows], where=f"{unit} {label}")
        else:
            lacking.append(label)
    if lacking:
        whole = standardise(data, training, where="the recording")
        for label in lacking:
            rows = np.flatnonzero(labels == label)
            out[rows] = whole[rows]
    return out, lacking
