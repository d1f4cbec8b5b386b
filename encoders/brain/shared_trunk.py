"""One linear map for several heads, by the directions that their fitted values share.

Mukherjee and Zhu 2011, *Statistical Analysis and Data Mining* 4 (reduced-rank ridge).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phosphene.encoders.brain.ridge_solver import RidgeSolution
from phosphene.encoders.brain.volume_map import VolumeMap

__all__ = ["HeadFit", "SharedTrunk", "share_trunk"]


@dataclass(frozen=True, eq=False)
class HeadFit:
    """How one head, of total variance 1, was fitted.

    Parameters
    ----------
    solution : RidgeSolution
        In dual form, of what a map of single volumes leaves over.
    weight : Tensor of shape (p,) or None
        Its inputs were multiplied by.
    base : Tensor of shape (n, t) or None
        What that map says of the clips, centred.
    volume_map : VolumeMap or None
    volume_weights : Tensor of shape (n_volumes, moments) or None
    """

    solution: RidgeSolution
    weight: Tensor | None = None
    base: Tensor | None = None
    volume_map: VolumeMap | None = None
    volume_weights: Tensor | None = None

    @property
    def inputs(self) -> Tensor:
        """Centred and weighed inputs (n, p)."""
        assert self.solution.inputs is not None
        return self.solution.inputs

    @property
    def fitted(self) -> Tensor:
        """Fitted values (n, t), centred."""
        # n clips, t targets, n much smaller than t: they come from the clips' side.
        found: Tensor = (self.inputs @ self.inputs.T) @ self.solution.weights
        return found if self.base is None else found + self.base

    @property
    def left_out(self) -> Tensor:
        """Values (n, t), centred, by fits without the clip's movie."""
        assert self.solution.left_out is not None
        found = self.solution.left_out - self.solution.y_mean
        return found if self.base is None else found + self.base

    def trunk(self, basis: Tensor) -> Tensor:
        """Return the map (p, r) to directions (r, t) of the head."""
        found: Tensor = self.inputs.T @ (self.solution.weights @ basis.T)
        if self.weight is not None:
            found = found * self.weight[:, None]
        if self.volume_map is None or self.volume_weights is None:
            return found
        return found + self.volume_map.trunk(self.volume_weights, basis)


@dataclass(eq=False)
class SharedTrunk:
    """One subject's map: p inputs, r directions, t outputs of all heads."""

    x_mean: Tensor
    trunk: Tensor
    y_mean: Tensor
    heads: Tensor

    def __call__(self, X: Tensor) -> Tensor:
        """Return outputs (n, t) of inputs (n, p)."""
        return torch.addmm(self.y_mean, (X - self.x_mean) @ self.trunk, self.heads)

    def part(self, X: Tensor, rows: slice) -> Tensor:
        """Return the share (n, r) that some inputs have in the directions."""
        # In float64, since halves of rows lie at other places in memory.
        found: Tensor = (X[:, rows] - self.x_mean[rows]).double() @ self.trunk[rows].double()
        return found


def share_trunk(
    x_mean: Tensor, fits: Sequence[HeadFit], y_mean: Tensor, factor: Tensor, rank: int
) -> tuple[SharedTrunk, Tensor]:
    """Return one trunk for all heads, and the left-out outputs (n, t) that it would make.

    Parameters
    ----------
    x_mean : Tensor of shape (p,)
    fits : sequence of HeadFit
    y_mean : Tensor of shape (t,)
        Of all heads, each scaled to variance 1.
    factor : Tensor of shape (t,)
        Back from there to the units of the targets.
    rank : int
    """
    fitted = [fit.fitted for fit in fits]
    basis = _directions(torch.cat(fitted, dim=1), rank)
    columns = basis.split([part.shape[1] for part in fitted], dim=1)
    trunk: Tensor = torch.zeros(len(x_mean), len(basis))
    for fit, own in zip(fits, columns, strict=True):
        trunk += fit.trunk(own)
    left = torch.cat([fit.left_out for fit in fits], dim=1)
    found = SharedTrunk(x_mean, trunk, y_mean * factor, basis * factor)
    return found, (left @ basis.T) @ found.heads + found.y_mean


def _directions(fitted: Tensor, rank: int) -> Tensor:
    """Return the orthonormal directions (r, t) in which fitted values (n, t) vary most."""
    values, vectors = torch.linalg.eigh((fitted @ fitted.T).double())
    keep = values > values[-1].clamp(min=1e-30) * 1e-10
    values, vectors = values[keep].flip(0)[:rank], vectors[:, keep].flip(1)[:, :rank]
    basis = (vectors / values.sqrt()).T.to(fitted) @ fitted
    # A vector and its negative serve equally: fix the sign, so that results do not hang on it.
    largest = basis.abs().argmax(dim=1, keepdim=True)
    signed: Tensor = (basis * basis.gather(1, largest).sign()).contiguous()
    return signed
