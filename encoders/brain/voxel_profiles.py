"""Response profile of each voxel: what of a picture's target predicts it, in closed form.

The target of each picture is reduced to its first principal components, and each voxel is
regressed on them with a small penalty. The coefficients say what the voxel responds to in terms
that all subjects share, whatever pictures they saw. A learned picture-to-voxel encoder, as in
Brain-IT, can take this place later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from phosphene.errors import InputError
from phosphene.seeds import item_seed

__all__ = ["ProfileBasis", "voxel_profiles"]

PICTURES = 4096  # that the components are found on
ITERATIONS = 4


@dataclass(frozen=True, eq=False)
class ProfileBasis:
    """Principal components of a target over training pictures.

    Attributes
    ----------
    mean : Tensor of shape (d,)
    components : Tensor of shape (d, p)
        Scaled so that the reduced targets have unit variance.
    """

    mean: Tensor
    components: Tensor

    @classmethod
    def fit(cls, values: Tensor, n_components: int, *, seed: int = 0) -> ProfileBasis:
        """Find the components of targets (n, ...), on at most 4,096 pictures.

        Raises
        ------
        InputError
            If there are fewer pictures than components, or the targets do not vary.
        """
        flat = values.flatten(1)
        if len(flat) <= n_components:
            raise InputError(
                f"{len(flat)} pictures for profiles of {n_components} numbers",
                expected=f"more than {n_components}",
                remedy="give more training pictures, or shorter profiles",
            )
        generator = torch.Generator().manual_seed(item_seed(seed, "profiles", "pictures", 0))
        rows = torch.randperm(len(flat), generator=generator)[:PICTURES].sort().values
        some = flat[rows].float()
        mean = some.mean(0)
        count = min(n_components, some.shape[1])
        centred = some - mean
        _, spread, directions = _leading(centred, count, generator)
        if float(spread[0]) == 0:
            raise InputError("targets that are the same for every picture", "targets that vary")
        floor = 1e-6 * spread[0]
        scale = len(some) ** 0.5 / spread.clamp_min(floor)
        return cls(mean, directions * scale)

    def reduce(self, values: Tensor) -> Tensor:
        """Return the components (n, p) of targets (n, ...)."""
        return (values.flatten(1).float() - self.mean) @ self.components


def _leading(
    centred: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading singular vectors and values (Halko, Martinsson and Tropp 2011)."""
    width = min(count + 16, *centred.shape)
    probe = torch.randn(centred.shape[1], width, generator=generator)
    basis = torch.linalg.qr(centred @ probe).Q
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(centred @ torch.linalg.qr(centred.T @ basis).Q).Q
    left, spread, right = torch.linalg.svd(basis.T @ centred, full_matrices=False)
    return basis @ left[:, :count], spread[:count], right[:count].T


def voxel_profiles(
    basis: ProfileBasis,
    blocks: Callable[[], Iterator[tuple[Tensor, Tensor]]],
    *,
    penalty: float = 0.01,
) -> Tensor:
    """Regress every voxel on the reduced targets.

    Parameters
    ----------
    basis : ProfileBasis
    blocks : callable
        Returns an iterator over ``(voxels (n, n_voxels), targets (n, ...))``, so that trials
        need not be in memory at once.
    penalty : float
        Multiple of the number of trials that is added to the targets' Gram matrix.

    Returns
    -------
    Tensor of shape (n_voxels, p)
    """
    gram, cross, n = torch.zeros(()), torch.zeros(()), 0
    for voxels, targets in blocks():
        reduced = basis.reduce(targets).double()
        gram = gram + reduced.T @ reduced
        cross = cross + reduced.T @ voxels.double()
        n += len(voxels)
    if n == 0:
        raise InputError("no trials to find voxel profiles on", "at least one")
    penalised = gram + penalty * n * torch.eye(len(gram), dtype=gram.dtype)
    coefficients: Tensor = torch.linalg.solve(penalised, cross)
    return coefficients.T.float()
