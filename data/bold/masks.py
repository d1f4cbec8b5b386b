"""Voxels of a subject's runs: a region, or what is in the brain in every run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.bold.runs import BoldRun, entities_of
from phosphene.data.readers.grids import check_grid
from phosphene.data.readers.nifti import open_volumes
from phosphene.data.readers.regions import read_space
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.types import VoxelSpace

__all__ = ["run_space"]

DARK = 0.2  # of the brightest voxels: outside the head

Array = np.ndarray[Any, Any]


def run_space(
    source: Path, subject: str, runs: list[BoldRun], roi: str | None
) -> tuple[VoxelSpace, list[str]]:
    """Return the voxels to use, and how they were found.

    A region that is named; else the intersection of the brain masks beside the series; else a
    brain mask of the subject somewhere among the derivatives, on the grid of the series; else
    what nilearn takes for the brain in all runs.

    Raises
    ------
    InputError
        If runs lie on different grids, or masks have no voxel in common.
    """
    first = open_volumes(runs[0].bold)
    grid = VoxelSpace(first.grid_shape, np.arange(np.prod(first.grid_shape)), first.affine)
    for run in runs[1:]:
        volumes = open_volumes(run.bold)
        check_grid(str(run.bold), volumes.grid_shape, volumes.affine, grid)
    if roi is not None:
        return read_space(roi, reference=grid), []
    masks = [run.mask for run in runs if run.mask is not None]
    if len(masks) == len(runs):
        inside = np.ones(grid.n_voxels, dtype=bool)
        for mask in masks:
            chosen = np.zeros(grid.n_voxels, dtype=bool)
            chosen[read_space(str(mask), reference=grid).indices] = True
            inside &= chosen
        if not inside.any():
            raise InputError(f"the brain masks of {len(masks)} runs have no voxel in common")
        return _among(grid, inside), ["voxels: in the brain mask of every run"]
    for mask in sorted(source.glob(f"derivatives/*/sub-{subject}/**/*_desc-brain_mask.nii*")):
        volumes = open_volumes(mask)
        same = volumes.grid_shape == first.grid_shape
        if same and np.allclose(volumes.affine, first.affine, atol=1e-2):
            told = entities_of(mask).get("space", "the series")
            return read_space(str(mask), reference=grid), [f"voxels: {mask.name} ({told})"]
    masking = require("nilearn.masking", "fmri")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that are empty, which is looked at below
        image = masking.compute_multi_epi_mask([str(run.bold) for run in runs], threshold=0.5)
    inside = np.asarray(image.dataobj).reshape(-1) > 0
    if not inside.any():  # a slab or a few voxels have no shape of a head
        values = first.read(grid.indices)[0]
        inside = values > DARK * np.quantile(values, 0.98)
    return _among(grid, inside), [
        f"voxels: {int(inside.sum())} that nilearn takes for the brain; name a region with --roi"
    ]


def _among(grid: VoxelSpace, inside: Array) -> VoxelSpace:
    return VoxelSpace(grid.grid_shape, np.flatnonzero(inside), grid.affine)
