"""What GLMsingle writes: ``TYPED_FITHRF_GLMDENOISE_RR`` and its simpler models.

``betasmd`` holds a volume per trial: (X, Y, Z, trials), or (voxels, trials) where series were given
as lists of voxels. In Python it stands in a pickled dictionary (``.npy``), of which nothing but
arrays is ever built, or in HDF5; MATLAB writes ``.mat`` of version 7.3, whose axes Python sees
reversed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.data.readers.values import check_values, to_float32
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.types import VoxelSpace

__all__ = ["is_glmsingle", "read_glmsingle"]

Array = np.ndarray[Any, Any]
KIND = "betas of GLMsingle (betasmd)"
NAMES = ("TYPEA_ONOFF", "TYPEB_FITHRF", "TYPEC_FITHRF_GLMDENOISE", "TYPED_FITHRF_GLMDENOISE_RR")
SUFFIXES = (".npy", ".hdf5", ".h5", ".mat")
KEY = "betasmd"


def is_glmsingle(source: str) -> bool:
    """Whether a file is named as GLMsingle names its results."""
    path = Path(source)
    return path.suffix.lower() in SUFFIXES and path.stem in NAMES


def read_glmsingle(source: str, space: VoxelSpace | None) -> tuple[Array, VoxelSpace]:
    """Read single-trial betas as (n_trials, n_voxels) float32.

    Parameters
    ----------
    source : str
    space : VoxelSpace, optional
        The voxels to use; volumes need them, as the file has no affine.

    Raises
    ------
    InputError
        If the file is damaged, has no ``betasmd``, or does not fit the voxels.
    """
    path = existing_file(source, KIND)
    betas = _betas(path)
    if space is None:
        if betas.ndim != 2 and np.squeeze(betas).ndim != 2:
            raise InputError(
                f"{path} holds volumes {betas.shape} and nothing says which voxels to use",
                expected="a mask on the grid of the series",
                remedy="pass --roi mask.nii.gz",
            )
        flat = np.squeeze(betas)
        data, space = to_float32(flat.T, str(path)), VoxelSpace.columns(flat.shape[0])
    else:
        data = _within(betas, space, path)
    check_values(data, str(path))
    return np.ascontiguousarray(data), space


def _betas(path: Path) -> Array:
    if path.suffix.lower() == ".npy":
        content = load_plain_pickle(path)
        found = content.get(KEY) if isinstance(content, dict) else None
    else:
        with reading(path, KIND), require("h5py", "nsd").File(path, "r") as file:
            found = None if KEY not in file else np.asarray(file[KEY])
            if found is not None and path.suffix.lower() == ".mat":
                found = found.transpose()
    if found is None or np.asarray(found).ndim < 2 or np.asarray(found).dtype.kind not in "fiu":
        raise InputError(
            f"{path} has no {KEY}, the betas of single trials",
            expected="results of GLMsingle, whose option wantmemoryoutputs or wantfileoutputs "
            "keeps betas",
            remedy="name the file of type B, C or D; type A is not by trial",
        )
    return np.asarray(found)


def _within(betas: Array, space: VoxelSpace, path: Path) -> Array:
    grid = tuple(space.grid_shape)
    if betas.shape[:-1] != grid and np.squeeze(betas).shape[:-1] != grid:
        if betas.shape[:0:-1] == grid:  # trials first: axes reversed
            betas = betas.transpose()
        else:
            raise InputError(
                f"{path} holds betas of shape {betas.shape}",
                expected=f"({', '.join(map(str, grid))}, trials), the grid of the voxels",
                remedy="use a mask on the grid of the series that GLMsingle was given",
            )
    flat = betas.reshape(int(np.prod(grid)), betas.shape[-1])
    return to_float32(flat[space.indices].T, str(path))
