"""What a linear decoder of pictures makes of the volumes of a film.

The same voxels answer pictures and films, and a subject may have seen thousands of pictures and few
films. The map from the response to one picture is applied to each volume of a window, and volumes
are weighed as the blood's response wants it: a handful of numbers, learned from films.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from phosphene.errors import InputError

__all__ = ["VolumeMap"]


@dataclass(frozen=True, eq=False)
class VolumeMap:
    """A linear map of one volume, of low rank.

    Parameters
    ----------
    weights : Tensor of shape (n_voxels, r)
        Of standardised voxels; those that the decoder of pictures does not know are 0.
    basis : Tensor of shape (r, t)
        To its target.
    """

    weights: Tensor
    basis: Tensor

    def scores(self, windows: Tensor) -> Tensor:
        """Return r numbers for each volume of windows (n, n_volumes, n_voxels)."""
        if windows.shape[2] != len(self.weights):
            raise InputError(
                f"windows of {windows.shape[2]} voxels for a map of {len(self.weights)}",
                expected="one map for the voxels of the runs",
            )
        found: Tensor = windows @ self.weights
        return found

    def weigh(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the weights of volumes (n_volumes, moments) with the least squared error.

        Parameters
        ----------
        scores : Tensor of shape (n, n_volumes, r)
            Centred.
        target : Tensor of shape (n, moments * t)
            Centred; each moment has weights of its own.
        """
        moments = target.shape[1] // self.basis.shape[1]
        told = target.unflatten(1, (moments, -1)) @ self.basis.T
        gram = torch.einsum("nkr,rs,nls->kl", scores, self.basis @ self.basis.T, scores)
        shared = torch.einsum("nkr,nmr->km", scores, told)
        # Neighbouring volumes say nearly the same: a trace of ridge keeps weights finite.
        damped = gram.double() + 1e-6 * gram.diagonal().mean().double() * torch.eye(len(gram))
        found: Tensor = torch.linalg.solve(damped, shared.double()).to(scores)
        return found

    def values(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Return what scores (n, n_volumes, r) say of the target (n, moments * t)."""
        return (torch.einsum("nkr,km->nmr", scores, weights) @ self.basis).flatten(1)

    def trunk(self, weights: Tensor, basis: Tensor) -> Tensor:
        """Return the map from windows to directions of the target, (n_volumes * n_voxels, d).

        Parameters
        ----------
        weights : Tensor of shape (n_volumes, moments)
            From :meth:`weigh`.
        basis : Tensor of shape (d, moments * t)
            Those directions.
        """
        parts = basis.unflatten(1, (weights.shape[1], -1)) @ self.basis.T
        found = torch.einsum("vr,km,dmr->kvd", self.weights, weights, parts)
        return found.flatten(0, 1)
