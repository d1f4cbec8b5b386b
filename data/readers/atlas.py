"""Atlases: which region each voxel of a recording is in, by name.

A volume or a map of whole numbers, zero for no region, and beside it the table that names them:
``X.tsv`` with the columns ``index`` and ``name``, as BIDS writes it for ``X.nii.gz``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers.arrays import load_checked
from phosphene.data.readers.grids import check_columns, check_grid
from phosphene.data.readers.nifti import open_volumes
from phosphene.data.readers.surface import is_surface, read_maps
from phosphene.errors import InputError
from phosphene.types import VoxelSpace

__all__ = ["read_atlas"]

Array = np.ndarray[Any, Any]
ENDINGS = (".nii.gz", ".label.gii", ".dlabel.nii", ".nii", ".mgz", ".mgh", ".gii", ".npy")


def read_atlas(source: str, space: VoxelSpace) -> tuple[Array, tuple[str, ...]]:
    """Return the region of each voxel, and the names of the regions.

    Parameters
    ----------
    source : str
        NIfTI, ``.mgz``, GIFTI, CIFTI, or ``.npy`` with a number per column.
    space : VoxelSpace
        Of the recording; the atlas has to lie on its grid.

    Returns
    -------
    region : ndarray of int of shape (n_voxels,)
        Place among the names; -1 where the atlas is zero.
    names : tuple of str
        In the order of their numbers; ``region-3`` where no table names them.

    Raises
    ------
    InputError
        If the atlas lies on another grid, holds other than whole numbers, or has no region
        among the voxels.
    """
    if is_surface(source):
        maps = read_maps(source)
        values, affine = np.asarray(maps[0]), None
    elif source.lower().endswith(".npy"):
        values, affine = load_checked(source), None
    else:
        volumes = open_volumes(source)
        values, affine = volumes.read_single(), volumes.affine
    if affine is None:
        check_columns(source, values.size, space)
    else:
        check_grid(source, values.shape, affine, space)
    found = np.nan_to_num(np.asarray(values, dtype=np.float64).reshape(-1)[space.indices])
    numbers = np.unique(found[found > 0])
    if numbers.size == 0 or np.any(numbers != np.round(numbers)):
        raise InputError(
            f"{source} has "
            + ("no region among the voxels" if numbers.size == 0 else "values between numbers"),
            expected="whole numbers above zero for regions",
            remedy="take a file of labels, not of probabilities, that covers the voxels",
        )
    told = _names(Path(source))
    names = tuple(told.get(int(one), f"region-{int(one)}") for one in numbers)
    if len(set(names)) != len(names):
        names = tuple(f"{name}-{int(one)}" for name, one in zip(names, numbers, strict=True))
    place = np.searchsorted(numbers, found)
    return np.where(found > 0, place, -1).astype(np.int64), names


def _names(source: Path) -> dict[int, str]:
    """Return the names that a table beside an atlas gives to its numbers."""
    import pandas as pd

    ending = next((end for end in ENDINGS if source.name.lower().endswith(end)), "")
    table = source.with_name(source.name[: len(source.name) - len(ending)] + ".tsv")
    if not ending or not table.is_file():
        return {}
    try:
        rows = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
        return {int(i): str(n) for i, n in zip(rows["index"], rows["name"], strict=True)}
    except (KeyError, ValueError, pd.errors.ParserError) as error:
        raise InputError(
            f"{table} does not name the regions of {source.name} ({error})",
            expected="a table with the columns index and name",
            remedy="correct it, or take it away: regions are then called by their numbers",
        ) from error
