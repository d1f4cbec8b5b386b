"""How much of each voxel's variance the pictures explain, measured on training trials alone.

A ridge on z-scored voxels expects every voxel to be equally useful. Most are not: many carry
noise only. Scaling each voxel by the square root of the share of its variance that a linear
encoding model explains on left-out pictures tells the ridge how large a coefficient to expect,
as the prior of a Bayesian linear model would. ``docs/digits69.md`` has what it brings.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch import Tensor

from phosphene.encoders.brain.ridge import group_labels
from phosphene.encoders.brain.ridge_solver import leave_out_errors
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.types import Recording

__all__ = ["explained_variance"]

# Multiples of the mean eigenvalue of the targets' Gram matrix.
ALPHAS = tuple(10.0 ** (step / 2) for step in range(-6, 7))
FLOOR = 1e-3


def explained_variance(
    recording: Recording,
    targets: Tensor,
    *,
    groups: Literal["stimulus", "session", "run"] = "stimulus",
) -> np.ndarray[Any, Any]:
    """Return the share of each voxel's variance that the targets predict.

    Parameters
    ----------
    recording : Recording
        Training trials, z-scored.
    targets : Tensor of shape (n_trials, ...)
        What was shown, as embeddings; the trailing axes are flattened.
    groups : {"stimulus", "session", "run"}
        What is left out whole.

    Returns
    -------
    ndarray of shape (n_voxels,), float32
        Between .001 (nothing) and 1; all 1 where no voxel is predicted better than by its mean.
    """
    rows = recording.data.reshape(len(recording), -1)
    flat = targets.reshape(len(targets), -1).float()
    scale = flat.std(dim=0, unbiased=False)
    spectrum = decompose((flat - flat.mean(dim=0)) / scale.clamp_min(1e-6))
    unit = float(spectrum.eigenvalues.mean()) if len(spectrum.eigenvalues) else 1.0
    errors = leave_out_errors(
        spectrum,
        rows,
        [alpha * unit for alpha in ALPHAS],
        group_labels(recording, groups),
        target_groups=np.arange(rows.shape[1]),
    )
    explained = 1.0 - np.nan_to_num(errors, nan=1.0).min(axis=0)
    if not (explained > FLOOR).any():
        return np.ones(rows.shape[1], dtype=np.float32)
    weights: np.ndarray[Any, Any] = np.clip(explained, FLOOR, 1.0).astype(np.float32)
    return weights
