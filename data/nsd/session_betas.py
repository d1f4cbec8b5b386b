"""Betas of one session in the official layout: ``.hdf5`` or ``.nii.gz``, integers times 300."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.nsd.facts import SCALE
from phosphene.data.readers.damage import reading
from phosphene.data.readers.grids import check_grid
from phosphene.data.readers.nifti import open_volumes
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.types import VoxelSpace

__all__ = ["count_trials", "find_sessions", "read_session"]

Array = np.ndarray[Any, Any]
KIND = "betas of one session in HDF5"
SUFFIXES = (".hdf5", ".nii.gz", ".nii")  # in the order of preference


def find_sessions(folder: Path) -> dict[int, Path]:
    """Return the file of every session, HDF5 where there are both."""
    found: dict[int, Path] = {}
    for suffix in reversed(SUFFIXES):
        for path in sorted(folder.glob(f"betas_session*{suffix}")):
            number = path.name.removeprefix("betas_session").removesuffix(suffix)
            if number.isdigit():
                found[int(number)] = path
    return dict(sorted(found.items()))


def count_trials(path: Path, space: VoxelSpace) -> int:
    """Return how many trials a session's file holds; only its header is read."""
    if path.suffix != ".hdf5":
        volumes = open_volumes(path)
        check_grid(str(path), volumes.grid_shape, volumes.affine, space)
        return volumes.n_volumes
    with reading(path, KIND), require("h5py", "nsd").File(path, "r") as file:
        shape, first = _layout(path, file, space)
        return int(shape[0] if first else shape[-1])


def read_session(path: Path, space: VoxelSpace) -> Array:
    """Read the voxels of one session in percent signal change.

    Returns
    -------
    ndarray of shape (n_trials, n_voxels), float32

    Raises
    ------
    InputError
        If the file is damaged or on another grid than the mask.
    """
    if path.suffix != ".hdf5":
        volumes = open_volumes(path)
        check_grid(str(path), volumes.grid_shape, volumes.affine, space)
        values = volumes.read(space.indices)
        stored_whole = volumes.dtype.kind in "iu" and volumes.slope == 1 and volumes.inter == 0
        return values / np.float32(SCALE) if stored_whole else values
    with reading(path, KIND), require("h5py", "nsd").File(path, "r") as file:
        shape, first = _layout(path, file, space)
        stored = file["betas"]
        n_trials = shape[0] if first else shape[-1]
        out = np.empty((n_trials, space.n_voxels), dtype=np.float32)
        x, y, z = np.unravel_index(space.indices, space.grid_shape)
        for level in np.unique(z):  # a slab at a time: a session is some gigabytes
            columns = np.flatnonzero(z == level)
            if first:
                out[:, columns] = np.asarray(stored[:, level])[:, y[columns], x[columns]]
            else:
                out[:, columns] = np.asarray(stored[:, :, level])[x[columns], y[columns]].T
        return out / np.float32(SCALE) if stored.dtype.kind in "iu" else out


def _layout(path: Path, file: Any, space: VoxelSpace) -> tuple[tuple[int, ...], bool]:
    """Return the shape, and whether trials come first as Python sees MATLAB's axes."""
    stored = file.get("betas")
    shape = tuple(getattr(stored, "shape", ()))
    grid = tuple(space.grid_shape)
    if shape[1:] == grid[::-1] and len(shape) == 4:
        return shape, True
    if shape[:-1] == grid and len(shape) == 4:
        return shape, False
    raise InputError(
        f"{path} holds " + (f"betas of shape {shape}" if shape else "no betas"),
        expected=f"betas of (trials, {', '.join(map(str, grid[::-1]))}), the mask's grid reversed",
        remedy="use betas and mask of the same subject and space",
    )
