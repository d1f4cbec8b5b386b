"""Frames decoded without any idea of motion: every volume's frame is drawn by itself.

Frames are sums of bar frames with independent Gaussian weights, equally for every orientation and
place and for every volume. That prior knows what bars look like and nothing about what follows
what. The posterior mean is linear in the volumes (a Wiener filter) and exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["decode_independent"]

Array = np.ndarray[Any, Any]
BLOCK = 32  # volumes decoded at a time


def decode_independent(observed: Array, kernel: Array, shown: float) -> Array:
    """Return the mean weight of every frame at every volume (n, n_frames).

    Parameters
    ----------
    observed : ndarray of shape (n, k)
        Volumes with the baseline taken away and noise of unit variance.
    kernel : ndarray of shape (n_lags, n_frames, k)
        What each frame leaves in the volume so many rows later.
    shown : float
        Share of volumes that show a bar: the expected sum of weights.
    """
    n_lags, n_frames, k = kernel.shape
    size = shown / n_frames  # mean and variance of every weight
    centred = observed - size * kernel.sum(axis=(0, 1))
    # Covariance of volumes d rows apart: only frames that both of them follow count.
    shared = np.zeros((n_lags, k, k))
    for apart in range(n_lags):
        for lag in range(n_lags - apart):
            shared[apart] += kernel[lag].T @ kernel[lag + apart]
    out = np.empty((len(observed), n_frames))
    for start in range(0, len(observed), BLOCK):
        stop = min(start + BLOCK, len(observed))
        low, high = max(0, start - n_lags), min(len(observed), stop + n_lags)
        n = high - low
        covariance = np.zeros((n, k, n, k))
        for apart in range(min(n_lags, n)):
            rows = np.arange(n - apart)
            covariance[rows, :, rows + apart] = size * shared[apart]
            covariance[rows + apart, :, rows] = size * shared[apart].T
        flat = covariance.reshape(n * k, n * k)
        flat[np.diag_indices(n * k)] += 1
        weighed = np.linalg.solve(flat, centred[low:high].ravel()).reshape(n, k)
        for row in range(start, stop):
            told = weighed[row - low : row - low + n_lags]
            out[row] = size + size * np.einsum("lfk,lk->f", kernel[: len(told)], told)
    return out
