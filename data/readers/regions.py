"""Regions of interest: masks (above zero) and atlases (labels) that say which voxels are used."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from phosphene.data.readers.arrays import load_checked
from phosphene.data.readers.grids import check_columns, check_grid
from phosphene.data.readers.nifti import open_volumes
from phosphene.data.readers.surface import is_surface, read_maps
from phosphene.errors import InputError, UsageError
from phosphene.types import VoxelSpace

__all__ = ["read_space"]

Array = np.ndarray[Any, Any]
SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".gii", ".npy")
LABELS = re.compile(r"(?P<file>.*\.(?:nii|nii\.gz|mgz|mgh|gii|npy)):(?P<labels>[^/\\]*)", re.I)


def read_space(roi: str, *, reference: VoxelSpace | None = None) -> VoxelSpace:
    """Read which voxels a mask or an atlas selects.

    Parameters
    ----------
    roi : str
        ``mask.nii.gz`` (voxels that are not zero; also ``.nii``, ``.mgz``), ``atlas.nii.gz:1,2``
        (voxels with these labels), ``mask.npy`` or ``mask.npz:KEY`` (one value per column of an
        array or surface), ``lh.label.gii,rh.label.gii:1,2``, ``atlas.dlabel.nii:1,2``.
    reference : VoxelSpace, optional
        Voxels among which the region is taken; it has to lie on their grid.

    Returns
    -------
    VoxelSpace

    Raises
    ------
    InputError
        If the file is damaged, on another grid than ``reference``, lacks a label, or selects
        no voxel.
    UsageError
        If the labels are not whole numbers.
    """
    source, labels = _split_labels(str(roi))
    affine = None
    if is_surface(source):
        values = _single(source, read_maps(source))
    elif source.lower().endswith(".npy") or ".npz" in source.lower():
        values = _read_column_mask(source)
    else:
        volumes = open_volumes(source)
        values, affine = volumes.read_single(), volumes.affine
    if reference is not None:
        if affine is None:
            check_columns(source, values.size, reference)
        else:
            check_grid(source, values.shape, affine, reference)
    indices = np.flatnonzero(_select(source, values, labels))  # C order, as the masks of nilearn
    if reference is not None:
        indices, affine = np.intersect1d(indices, reference.indices), reference.affine
    if indices.size == 0:
        within = "" if reference is None else f" among the {reference.n_voxels} that are used"
        raise InputError(
            f"{roi} selects no voxel{within}",
            expected="at least one voxel that is not zero or has one of the labels",
            remedy="choose another mask or other labels",
        )
    return VoxelSpace(values.shape, indices, affine)


def _split_labels(roi: str) -> tuple[str, list[int] | None]:
    match = LABELS.fullmatch(roi)
    if match is None:
        return roi, None
    try:
        return match["file"], [int(label) for label in match["labels"].split(",")]
    except ValueError as error:
        raise UsageError(
            f"`--roi` names the labels {match['labels']!r}",
            expected="whole numbers separated by commas, such as atlas.nii.gz:1,2,3",
            remedy="look the numbers up in the table that belongs to the atlas",
        ) from error


def _read_column_mask(source: str) -> Array:
    values = load_checked(source)
    if values.ndim != 1 or values.size == 0 or values.dtype.kind == "c":
        raise InputError(
            f"the mask {source} holds {values.dtype} of shape {values.shape}",
            expected="one number or boolean per column, (n_columns,)",
            remedy="for volumes give the mask as NIfTI, which knows where its voxels lie",
        )
    return values


def _single(source: str, maps: Array) -> Array:
    if len(maps) != 1:
        raise InputError(
            f"{source} holds {len(maps)} maps",
            expected="one mask or one atlas",
            remedy="save one of them as its own file",
        )
    values: Array = maps[0]
    return values


def _select(source: str, values: Array, labels: list[int] | None) -> Array:
    if labels is None:
        # Above zero, not "other than zero": masks such as nsdgeneral hold -1 outside their region.
        inside: Array = np.nan_to_num(values) > 0
        return inside
    missing = [label for label in labels if not (values == label).any()]
    if missing:
        present = np.unique(values[np.isfinite(values) & (values != 0)])
        shown = ", ".join(f"{value:g}" for value in present[:20])
        more = ", ..." if present.size > 20 else ""
        raise InputError(
            f"{source} has no label {', '.join(map(str, missing))}",
            expected=f"labels among the {present.size} it has: {shown or '(none)'}{more}",
            remedy="look the numbers up in the table that belongs to the atlas",
        )
    return np.isin(values, labels)
