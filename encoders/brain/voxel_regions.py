"""Which region each voxel of a subject belongs to: of an atlas, or parcels by position.

Regions are the same for all subjects, by name; voxels are not. Without an atlas a subject's voxels
are halved again and again along left-right, back-front and down-up, so that parcels of the same
name lie at about the same place of every head, each with nearly as many voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.types import VoxelSpace

__all__ = ["VoxelRegions", "joined_names", "positional_parcels"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class VoxelRegions:
    """Regions of one subject's voxels.

    Attributes
    ----------
    region : ndarray of int of shape (n_voxels,)
        Place of each voxel's region among ``names``; -1 where it is in none.
    names : tuple of str
    """

    region: Array
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        region = np.asarray(self.region)
        if region.ndim != 1 or region.dtype.kind not in "iu" or len(region) == 0:
            raise InputError(
                f"regions of shape {region.shape} and type {region.dtype}",
                expected="one whole number per voxel",
            )
        if region.min() < -1 or region.max() >= len(self.names):
            raise InputError(
                f"regions from {region.min()} to {region.max()} for {len(self.names)} names",
                expected="the place of a name, or -1 for none",
            )
        if len(set(self.names)) != len(self.names):
            raise InputError("regions of the same name", expected="every name once")

    @property
    def masks(self) -> dict[str, Array]:
        """Voxels (n_voxels,) bool of each region that has any."""
        return {
            name: self.region == place
            for place, name in enumerate(self.names)
            if (self.region == place).any()
        }

    def named(self, names: Sequence[str]) -> VoxelRegions:
        """Return the same with places among other names; regions that are not there are none.

        Raises
        ------
        InputError
            If no region is there.
        """
        places = {name: place for place, name in enumerate(names)}
        table = np.array([*(places.get(name, -1) for name in self.names), -1])
        region = table[self.region]
        if not (region >= 0).any():
            raise InputError(
                f"the regions {', '.join(self.names[:8])}",
                expected=f"some of {', '.join(list(names)[:8])}",
                remedy="take the same atlas for every subject",
            )
        return VoxelRegions(region, tuple(names))


def positional_parcels(space: VoxelSpace, count: int) -> VoxelRegions:
    """Divide voxels into parcels by their position; columns without one, by their order.

    Parameters
    ----------
    space : VoxelSpace
    count : int
        A power of two.
    """
    if count < 1 or count & (count - 1):
        raise UsageError(f"{count} parcels", expected="a power of two, such as 16")
    if space.n_voxels < count:
        raise InputError(
            f"{space.n_voxels} voxels for {count} parcels",
            expected="at least one voxel per parcel",
            remedy="choose fewer parcels (--set options.regions=8)",
        )
    positions = _positions(space)
    parcel = np.zeros(space.n_voxels, dtype=np.int64)
    axis = 0
    for _ in range(count.bit_length() - 1):
        halves = parcel * 2
        for one in np.unique(parcel):
            rows = np.flatnonzero(parcel == one)
            order = rows[np.argsort(positions[rows, axis], kind="stable")]
            halves[order[len(order) // 2 :]] += 1
        parcel, axis = halves, (axis + 1) % positions.shape[1]
    return VoxelRegions(parcel, tuple(f"parcel-{number:02d}" for number in range(count)))


def _positions(space: VoxelSpace) -> Array:
    """Return millimetres (n_voxels, 3), or places in order (n_voxels, 1)."""
    if space.affine is None or len(space.grid_shape) != 3:
        return space.indices[:, None].astype(np.float64)
    voxels = np.stack(np.unravel_index(space.indices, space.grid_shape), axis=1)
    found: Array = voxels @ space.affine[:3, :3].T + space.affine[:3, 3]
    return found


def joined_names(regions: Mapping[str, VoxelRegions]) -> tuple[str, ...]:
    """Return the names of all regions that any subject has voxels in, in order of appearance."""
    found: dict[str, None] = {}
    for one in regions.values():
        found |= dict.fromkeys(one.masks)
    return tuple(found)
