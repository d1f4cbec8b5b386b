"""The plain rival: ridge from the volume some seconds later to the pixels of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phosphene.encoders.brain.ridge_solver import RidgeSolution, solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.errors import InputError

__all__ = ["RidgeFrames"]

Array = np.ndarray[Any, Any]

DELAY = 4.0  # seconds
ALPHA = 1.0  # times the mean eigenvalue
FEWEST = 8

# Neither is chosen in training: with bars that sweep once, frames of a stretch that is left out
# are never seen in the others, and every penalty looks too small.


@dataclass(frozen=True, eq=False)
class RidgeFrames:
    """Ridge with a fixed lag and penalty.

    Attributes
    ----------
    lag : int
        Volumes.
    solution : RidgeSolution
    """

    lag: int
    solution: RidgeSolution

    @classmethod
    def fit(cls, bold: Array, frames: Array, train: Array, tr: float) -> RidgeFrames:
        """Learn from the volumes (n, n_voxels) and frames (n, n_pixels) of training rows."""
        lag = max(1, round(DELAY / tr))
        inside = np.zeros(len(bold) + lag, dtype=bool)
        inside[train] = True
        rows = train[inside[train + lag]]
        if len(rows) < FEWEST:
            raise InputError(f"{len(train)} training volumes", f"at least {FEWEST + lag}")
        spectrum = decompose(np.asarray(bold[rows + lag]), dtype=torch.float64)
        target = torch.as_tensor(frames[rows], dtype=torch.float64)
        unit = float(spectrum.eigenvalues.mean())
        return cls(lag, solve_ridge(spectrum, target, [ALPHA * unit]))

    def predict(self, bold: Array, rows: Array, readable: Array) -> Array:
        """Return frames (n, n_pixels) of rows; a volume that may not be read is its neighbour."""
        wanted = np.clip(rows + self.lag, readable[0], readable[-1])
        volumes = torch.as_tensor(np.asarray(bold[wanted]), dtype=torch.float64)
        found: Array = self.solution.predict(volumes).numpy()
        return found
