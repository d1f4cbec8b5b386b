"""Whether a new scene begins within a clip: two halves of the blood's answer that disagree.

What a clip shows is decoded from the first and from the second half of its volumes. The blood is
slow, so both halves mean the same picture where nothing new begins, and they agree less where a cut
lies between them. A linear map of the volumes cannot say so: a cut is told by a distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["agreement", "cut_probability", "fit_cut_weights"]

Array = np.ndarray[Any, Any]
PENALTY = 1.0  # on squared coefficients of standardised agreements, as in scikit-learn


def agreement(first: Tensor, second: Tensor, basis: Tensor) -> Tensor:
    """Return the correlation (n,) of what two halves say of one head.

    Parameters
    ----------
    first, second : Tensor of shape (n, r)
        Both halves' share in the directions of a trunk.
    basis : Tensor of shape (r, t)
        From there to the head.
    """
    # In float64: single precision rounds differently at another place in memory.
    first, second, basis = first.double(), second.double(), basis.double()
    gram = basis @ basis.T
    a, b = first @ gram, second @ gram
    lengths = (a * first).sum(1).clamp(min=1e-12) * (b * second).sum(1).clamp(min=1e-12)
    found: Tensor = ((a * second).sum(1) / lengths.sqrt()).float()
    return found


def fit_cut_weights(agreements: Tensor, cut: Tensor) -> Tensor:
    """Return weights (k + 1,) of agreements and a constant, by logistic regression.

    Parameters
    ----------
    agreements : Tensor of shape (n, k)
    cut : Tensor of shape (n,)
        Whether a new scene began in the clip.
    """
    X, shown = agreements.double().numpy(), cut.double().numpy()
    mean = float(np.clip(shown.mean(), 1e-6, 1 - 1e-6))
    w = np.zeros(X.shape[1] + 1)
    w[-1] = np.log(mean / (1 - mean))
    if not 0 < shown.mean() < 1:
        return torch.from_numpy(w).float()
    centre, spread = X.mean(0), np.maximum(X.std(0), 1e-9)
    Z = np.concatenate([(X - centre) / spread, np.ones((len(X), 1))], axis=1)
    penalty = np.diag([PENALTY] * X.shape[1] + [0.0])
    for _ in range(50):  # Newton's steps
        p = 1 / (1 + np.exp(-np.clip(Z @ w, -30, 30)))
        hessian = (Z * (p * (1 - p))[:, None]).T @ Z + penalty + 1e-9 * np.eye(len(w))
        step = np.linalg.solve(hessian, Z.T @ (shown - p) - penalty @ w)
        w = w + step
        if np.abs(step).max() < 1e-8:
            break
    w[:-1] /= spread
    w[-1] -= w[:-1] @ centre
    return torch.from_numpy(w).float()


def cut_probability(agreements: Tensor, weights: Tensor, shares: int) -> Tensor:
    """Return the probability that a scene begins in each share of a clip (n, shares).

    Where in the clip is not known: all shares are alike, and together they are as probable as the
    clip's agreements (n, k) say.
    """
    score = agreements.double() @ weights[:-1].double() + weights[-1].double()
    none = torch.sigmoid(-score)
    return (1 - none ** (1 / shares)).float()[:, None].expand(-1, shares).contiguous()
