"""Noise of voxels that is shared between them and between successive volumes.

Covariance over voxels times an autoregression over time (separable). Over voxels: correlations
shrunk towards none by as much as Ledoit and Wolf (2004) find, so that there may be far fewer
volumes than voxels; everything is computed in the space of the volumes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["VoxelNoise"]

Array = np.ndarray[Any, Any]


class VoxelNoise:
    """Learned from residuals of a model of the signal.

    Attributes
    ----------
    correlation_ : float
        From one volume to the next, of all voxels together.
    shrinkage_ : float
        0 keeps every correlation between voxels, 1 none.
    scale_ : (n_voxels,) float
        Standard deviation of each voxel's noise.
    independent_ : float
        How many voxels of independent noise these amount to (participation ratio).
    """

    def fit(
        self, residuals: Array, pieces: list[Array], *, unknown: Array | float = 0.0
    ) -> VoxelNoise:
        """Learn from residuals.

        Parameters
        ----------
        residuals : ndarray of shape (n, n_voxels)
        pieces : list of ndarray of int
            Positions of stretches of successive volumes.
        unknown : ndarray of shape (n_voxels,), optional
            Variance to add to each voxel: what the model of the signal does not know.
        """
        pairs = [(piece[:-1], piece[1:]) for piece in pieces if len(piece) > 1]
        if not pairs:
            raise InputError("residuals without two successive volumes", "stretches of volumes")
        before = np.concatenate([residuals[a] for a, _ in pairs])
        after = np.concatenate([residuals[b] for _, b in pairs])
        power = (residuals**2).mean(axis=0)
        seen = power > 0
        share = (before * after)[:, seen].mean(axis=0) / power[seen]
        self.correlation_ = float(np.clip(share.mean(), 0, 0.95))
        innovations = self.innovations(residuals, pieces)
        self.scale_ = np.sqrt((innovations**2).mean(axis=0))
        self.scale_[~seen] = 1.0
        z = innovations / self.scale_
        n, p = z.shape
        gram = z @ z.T
        squared = float((gram**2).sum()) / n**2
        fourth = float((np.diag(gram) ** 2).sum())
        mean = float(np.trace(gram)) / n / p
        beta = (fourth / n - squared) / (p * n)
        delta = (squared - p * mean**2) / p
        self.shrinkage_ = float(np.clip(beta / delta, 0.01, 1)) if delta > 0 else 1.0
        values, vectors = np.linalg.eigh(gram)
        kept = values > values[-1] * 1e-9
        self.independent_ = float(np.trace(gram) ** 2 / (gram**2).sum())
        self.scale_ = np.sqrt(self.scale_**2 + unknown)
        self._directions = (z.T @ vectors[:, kept]) / np.sqrt(values[kept])  # (p, k) orthonormal
        self._variances = self.shrinkage_ * mean + (1 - self.shrinkage_) * values[kept] / n
        self._rest = self.shrinkage_ * mean
        return self

    def innovations(self, series: Array, pieces: list[Array]) -> Array:
        """Return what the volume before does not foretell, scaled to the series' own variance.

        The first volume of a stretch has none before it and stays as it is.
        """
        out = np.array(series, dtype=np.float64)
        for piece in pieces:
            later = series[piece[1:]] - self.correlation_ * series[piece[:-1]]
            out[piece[1:]] = later / np.sqrt(1 - self.correlation_**2)
        return out

    def whiten(self, values: Array) -> Array:
        """Return values (..., n_voxels) whose noise has the identity as its covariance."""
        scaled = values / self.scale_
        inside = scaled @ self._directions
        gain = 1 / np.sqrt(self._variances) - 1 / np.sqrt(self._rest)
        whitened: Array = scaled / np.sqrt(self._rest) + (inside * gain) @ self._directions.T
        return whitened
