"""Volumes of one run, free of drift and in units of their own spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["standardised"]

Array = np.ndarray[Any, Any]
SECONDS_PER_DEGREE = 150.0  # of run, as packages for task data choose it
FEWEST = 8
LIMIT = 6.0  # SDs: a spike of motion counts no more than that


def standardised(data: Array, tr: float) -> Array:
    """Return volumes (n, V) float32 without polynomial drift, each voxel of mean 0 and SD 1.

    It looks at this run alone, at all of it and at no label: gain and baseline of a session have
    no say. A voxel that does not vary becomes 0.

    Parameters
    ----------
    data : ndarray of shape (n, V)
    tr : float
        Seconds between volumes.

    Raises
    ------
    InputError
        If there are too few volumes.
    """
    n = len(data)
    if n < FEWEST:
        raise InputError(
            f"a run of {n} volumes",
            expected=f"at least {FEWEST}, to standardise them",
            remedy="give whole runs",
        )
    degree = 1 + int(n * tr // SECONDS_PER_DEGREE)
    drift, _ = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, n), degree))
    values = np.asarray(data, dtype=np.float64)
    values = values - values.mean(axis=0)
    rest = values - drift @ (drift.T @ values)
    spread, floor = rest.std(axis=0), 1e-6 * np.abs(np.asarray(data[0], dtype=np.float64))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > floor)
    found: Array = np.clip(rest * scale, -LIMIT, LIMIT).astype(np.float32)
    return found
