"""Multivariate noise normalisation: sensors made uncorrelated with the noise of training trials.

Guggenmos et al. (2018). For every picture the covariance of the sensors, shrunk by Ledoit and
Wolf, averaged over its trials and then over pictures; signals are multiplied by the inverse of
its symmetric root. One for each session, fitted on training trials alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["Whitening", "shrunk_covariances"]

Array = np.ndarray[Any, Any]
BLOCK = 128
SMALLEST = 1e-10  # of the largest eigenvalue


def shrunk_covariances(trials: Array) -> Array:
    """Return the Ledoit-Wolf covariance over time of every trial (n, C, C).

    Channels are standardised before and scaled back after, as scikit-learn's discriminant
    analysis does with ``shrinkage="auto"``.

    Parameters
    ----------
    trials : ndarray of shape (n, C, n_times)
    """
    x = np.asarray(trials, dtype=np.float64)
    x = x - x.mean(axis=2, keepdims=True)
    n_chans, n = x.shape[1:]
    scale = x.std(axis=2)
    scale[scale == 0] = 1.0
    x = x / scale[:, :, None]
    empirical = x @ np.swapaxes(x, 1, 2) / n
    trace = np.trace(empirical, axis1=1, axis2=2)
    mu = trace / n_chans
    squared = (empirical**2).sum(axis=(1, 2))
    fourth = ((x**2).sum(axis=1) ** 2).sum(axis=1)  # sum over times of the squared norm, squared
    beta = (fourth / n - squared) / (n_chans * n)
    delta = (squared - 2 * mu * trace + n_chans * mu**2) / n_chans
    beta = np.clip(np.minimum(beta, delta), 0, None)
    shrinkage = np.divide(beta, delta, out=np.zeros_like(beta), where=delta > 0)
    shrunk = (1 - shrinkage)[:, None, None] * empirical
    shrunk += (shrinkage * mu)[:, None, None] * np.eye(n_chans)
    covariances: Array = shrunk * scale[:, :, None] * scale[:, None, :]
    return covariances


class Whitening:
    """Multiplies sensors by the inverse symmetric root of their noise covariance.

    Attributes
    ----------
    covariance : (C, C)
    matrix : (C, C)
    """

    def __init__(self, covariance: Array) -> None:
        self.covariance = np.asarray(covariance, dtype=np.float64)
        values, vectors = np.linalg.eigh(self.covariance)
        if values[0] <= SMALLEST * values[-1]:
            raise InputError(
                "a noise covariance that is singular: some channel is a sum of others",
                expected="independent channels",
                remedy="drop a channel after re-referencing to the average, or skip whitening",
            )
        self.matrix: Array = (vectors / np.sqrt(values)) @ vectors.T

    @classmethod
    def fit(cls, trials: Array, pictures: Array) -> Whitening:
        """Learn the covariance from training trials.

        Parameters
        ----------
        trials : ndarray of shape (n, C, n_times)
            Of one session, of the training split.
        pictures : ndarray of shape (n,)
            Which picture each trial shows; every picture counts once.
        """
        if len(trials) != len(pictures) or len(trials) == 0:
            raise InputError(
                f"{len(trials)} trials and {len(pictures)} pictures", "one picture per trial"
            )
        _, codes, counts = np.unique(pictures, return_inverse=True, return_counts=True)
        weights = 1 / counts[codes] / len(counts)
        total = np.zeros((trials.shape[1], trials.shape[1]))
        for start in range(0, len(trials), BLOCK):
            rows = slice(start, start + BLOCK)
            total += np.einsum("n,ncd->cd", weights[rows], shrunk_covariances(trials[rows]))
        return cls(total)

    def apply(self, trials: Array) -> Array:
        """Return whitened trials (n, C, n_times), float32."""
        out = np.empty(trials.shape, dtype=np.float32)
        for start in range(0, len(trials), BLOCK):
            rows = slice(start, start + BLOCK)
            out[rows] = self.matrix @ np.asarray(trials[rows], dtype=np.float64)
        return out
