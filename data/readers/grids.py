"""Grids of voxels: whether a scan lies on the voxels a model or a mask knows, and what to do."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.types import VoxelSpace

__all__ = ["check_affine", "check_columns", "check_grid", "describe_grid"]

Array = np.ndarray[Any, Any]

# Headers keep affines as float32, and a quaternion or an MGH centre does not survive a round
# trip exactly: errors reach some 0.001 mm at the corners of a head. No real shift is that small.
TOLERANCE_MM = 0.01


def describe_grid(shape: tuple[int, ...], affine: Array) -> str:
    """Return shape, voxel size, orientation and origin in words."""
    from nibabel.orientations import aff2axcodes

    sizes = " x ".join(f"{size:.4g}" for size in np.linalg.norm(affine[:3, :3], axis=0))
    axes = aff2axcodes(affine)  # type: ignore[no-untyped-call]
    codes = "".join(code or "?" for code in axes)
    origin = ", ".join(f"{value:.2f}" for value in affine[:3, 3])
    extent = " x ".join(map(str, shape))
    return f"{extent} voxels of {sizes} mm, orientation {codes}, origin ({origin}) mm"


def check_affine(affine: Array, source: str) -> Array:
    """Return the affine as float64 (4, 4) when it is finite and can be inverted."""
    matrix = np.asarray(affine, dtype=np.float64)
    # The determinant relative to the voxel sizes: 0 for collapsed axes, 1 for orthogonal ones.
    finite = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
    with np.errstate(over="ignore"):
        sizes = np.linalg.norm(matrix[:3, :3], axis=0) if finite else np.zeros(3)
    if (
        not np.isfinite(sizes).all()
        or sizes.min() == 0
        or abs(np.linalg.det(matrix[:3, :3] / sizes)) < 1e-6
    ):
        raise InputError(
            f"the affine in the header of {source} is not invertible",
            expected="a 4 x 4 matrix from voxels to millimetres",
            remedy="restore the header from the file's source",
        )
    return matrix


def check_grid(source: str, shape: tuple[int, ...], affine: Array, space: VoxelSpace) -> None:
    """Refuse a volume that is not on the grid of ``space``.

    Parameters
    ----------
    source : str
        Name of the file, for the message.
    shape : tuple of int
        ``(X, Y, Z)`` of the file.
    affine : ndarray of shape (4, 4)
        Voxel to millimetres of the file.
    space : VoxelSpace
        The voxels that are expected.

    Raises
    ------
    InputError
        Naming both grids, how they differ, and how to bring the file onto the right one.
    """
    if space.affine is None:
        raise InputError(
            f"{source} is a volume of {' x '.join(map(str, shape))} voxels",
            expected=f"data of {space.describe()}: the voxels are columns of an array or a surface",
            remedy="give the recording in the same form as the one that was prepared",
        )
    found, expected = describe_grid(shape, affine), describe_grid(space.grid_shape, space.affine)
    if _same_voxels(shape, affine, space):
        if _displacement(shape, affine, space.affine) <= TOLERANCE_MM and shape == space.grid_shape:
            return
        raise InputError(
            f"{source} has the right voxels in another order of axes: {found}",
            expected=expected,
            remedy=f"reorient it, nothing has to be resampled: {_reorientation(space.affine)}",
        )
    difference = "the shapes differ"
    if shape == space.grid_shape:
        distance = _displacement(shape, affine, space.affine)
        difference = f"equal shapes, but the affines place voxels up to {distance:.3g} mm apart"
    raise InputError(
        f"{source} is on another grid: {found} ({difference})",
        expected=expected,
        remedy="where both lie in the same anatomical space, resample it onto the expected grid: "
        'nilearn.image.resample_to_img(scan, mask, interpolation="continuous"); else register '
        "them first",
    )


def _corners(shape: tuple[int, ...]) -> Array:
    """Return the centres of the eight corner voxels, homogeneous, (8, 4)."""
    return np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], dtype=float)


def _displacement(shape: tuple[int, ...], first: Array, second: Array) -> float:
    """Return the largest distance in mm between where two affines put the same voxel.

    The distance is convex over the box, so a corner attains it.
    """
    moved = _corners(shape) @ (first - second).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())


def _same_voxels(shape: tuple[int, ...], affine: Array, space: VoxelSpace) -> bool:
    """Whether the file's voxels are those of ``space`` up to swapped and flipped axes."""
    if space.affine is None:
        return False
    voxel_map = np.linalg.solve(space.affine, affine)
    exact = np.round(voxel_map)
    linear = np.abs(exact[:3, :3])
    if not (np.all(linear.sum(axis=0) == 1) and np.all(linear.sum(axis=1) == 1)):
        return False
    placed = (_corners(shape) @ exact.T)[:, :3]
    same_box = np.all(placed.min(axis=0) == 0) and np.all(
        placed.max(axis=0) == np.array(space.grid_shape) - 1
    )
    distance = _displacement(shape, affine, space.affine @ exact)
    return bool(same_box) and distance <= TOLERANCE_MM


def _reorientation(affine: Array) -> str:
    from nibabel.orientations import aff2axcodes

    if aff2axcodes(affine) == ("R", "A", "S"):  # type: ignore[no-untyped-call]
        return "nibabel.as_closest_canonical(scan)"
    return (
        "scan.as_reoriented(ornt_transform(io_orientation(scan.affine), "
        "io_orientation(mask.affine))), functions of nibabel.orientations"
    )


def check_columns(source: str, n_columns: int, space: VoxelSpace) -> None:
    """Refuse an array or surface whose columns are not those ``space`` was taken from."""
    if len(space.grid_shape) != 1:
        raise InputError(
            f"{source} has {n_columns} columns and no grid of voxels",
            expected=f"a volume on {space.describe()}",
            remedy="give the recording as NIfTI on that grid",
        )
    if n_columns != space.grid_shape[0]:
        raise InputError(
            f"{source} has {n_columns} columns",
            expected=f"{space.grid_shape[0]} columns, of which {space.n_voxels} are used",
            remedy="give the same columns in the same order as in the data that was prepared",
        )
