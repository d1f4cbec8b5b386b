"""The best linear estimate of pixels or embeddings from betas, with the true noise.

Signals of thousands of voxels tell scenes apart so well that a bank of rendered scenes is sparse
beside them: the posterior mean then hardly differs from the nearest scene. The best linear
estimate needs only means and covariances of the bank and is a floor under the ideal observer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["LinearObserver"]

Array = np.ndarray[Any, Any]


class LinearObserver:
    """Joint moments of signal and values over a bank.

    Parameters
    ----------
    bank_signal : (m, V)
        May be float16 and memory-mapped.
    values : (m, ...)
        Pixels, embeddings or factors of the bank's scenes.
    block : int
        Scenes at a time.
    """

    def __init__(self, bank_signal: Array, values: Array, *, block: int = 2048) -> None:
        if len(bank_signal) != len(values) or len(values) < 2:
            raise InputError(
                f"{len(bank_signal)} signals and {len(values)} values", "two or more, alike"
            )
        m, n_voxels = bank_signal.shape
        self.shape = values.shape[1:]
        total, squares = np.zeros(n_voxels), np.zeros((n_voxels, n_voxels))
        value_total = np.zeros(int(np.prod(self.shape)))
        cross = np.zeros((n_voxels, len(value_total)))
        for start in range(0, m, block):
            signal = np.asarray(bank_signal[start : start + block], dtype=np.float64)
            flat = np.asarray(values[start : start + block], dtype=np.float64)
            flat = flat.reshape(len(flat), -1)
            total += signal.sum(axis=0)
            value_total += flat.sum(axis=0)
            squares += signal.T @ signal
            cross += signal.T @ flat
        self.mean, self.value_mean = total / m, value_total / m
        self.covariance = squares / m - np.outer(self.mean, self.mean)
        self.cross = cross / m - np.outer(self.mean, self.value_mean)

    def estimate(
        self, observed: Array, noise_covariance: Array, repetitions: int, gain: Array | float = 1.0
    ) -> Array:
        """Return the estimate of the values (n, ...) with the least mean squared error.

        Parameters
        ----------
        observed : (n, V)
            Means over ``repetitions`` trials, without session effects and mean response.
        noise_covariance : (V, V)
            Of single trials.
        repetitions : int
        gain : (V,), optional
            Mean response to the repetitions relative to the first.
        """
        from scipy.linalg import solve

        scale = np.broadcast_to(gain, self.mean.shape)
        total = self.covariance * np.outer(scale, scale) + noise_covariance / repetitions
        # Few rows are solved for, not the many values.
        weights = solve(total, (observed - self.mean * scale).T, assume_a="pos").T
        estimate = (weights * scale) @ self.cross + self.value_mean
        shaped: Array = estimate.reshape(len(observed), *self.shape)
        return shaped
