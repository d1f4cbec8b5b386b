"""How much each voxel tells of targets: prior variances for a ridge, or a choice of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["voxel_weights"]

DIRECTIONS, LEAST_WEIGHT = 24, 0.02


def voxel_weights(X: Tensor, Y: Tensor, groups: Sequence[Any], n_volumes: int) -> Tensor:
    """Return the square root of each input's prior variance (p,), mean square about 1.

    The product of two covariances with the targets, each from one half of the movies, is an
    unbiased estimate of the squared covariance: voxels without signal get 0 on average. It is
    summed over the main directions of the targets and over the volumes of a window.

    Parameters
    ----------
    X : Tensor of shape (n, p)
    Y : Tensor of shape (n, t)
    groups : sequence of length n
        Movie of each clip.
    n_volumes : int
        Inputs are volumes by voxels, in this order.
    """
    centred = (Y - Y.mean(0)).double()
    small = Y.shape[1] < len(Y)  # the smaller of both Gram matrices has the same eigenvalues
    values, vectors = torch.linalg.eigh(centred.T @ centred if small else centred @ centred.T)
    kept = slice(-min(DIRECTIONS, len(values)), None)
    share = (values[kept].clamp(min=0) / values.clamp(min=0).sum().clamp(min=1e-30)).float()
    scores = vectors[:, kept]
    if small:
        scores = centred @ scores / values[kept].clamp(min=1e-30).sqrt()
    scores = scores.float() * len(Y) ** 0.5
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    halves = []
    for half in (codes % 2 == 0, codes % 2 == 1):
        rows = torch.from_numpy(np.flatnonzero(half))
        x, z = X[rows] - X[rows].mean(0), scores[rows] - scores[rows].mean(0)
        halves.append(x.T @ z / len(rows))
    told = ((halves[0] * halves[1]) @ share).view(n_volumes, -1).sum(0).clamp(min=0)
    weight = (LEAST_WEIGHT + told / told.mean().clamp(min=1e-30)).sqrt()
    repeated: Tensor = weight.repeat(n_volumes)
    return repeated
