"""Betas on cortical surfaces: GIFTI functional files and dense CIFTI-2 files.

Columns are vertices (GIFTI; of several hemispheres one after the other, in the order given) or
grayordinates (CIFTI). There is no grid of voxels, so a space is ``(n_columns,)`` without affine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.grids import check_columns
from phosphene.data.readers.values import BLOCK_BYTES, check_values, to_float32
from phosphene.errors import InputError
from phosphene.types import VoxelSpace

__all__ = ["CIFTI_SUFFIXES", "is_surface", "read_maps", "read_surface"]

Array = np.ndarray[Any, Any]
GIFTI_KIND = "a GIFTI file (.func.gii, .shape.gii or .label.gii)"
CIFTI_KIND = "a dense CIFTI-2 file (.dscalar.nii, .dtseries.nii or .dlabel.nii)"
CIFTI_SUFFIXES = (".dscalar.nii", ".dtseries.nii", ".dlabel.nii")


def is_surface(name: str) -> bool:
    """Whether a file name (or several, separated by commas) is of a surface format."""
    return name.lower().endswith((".gii", *CIFTI_SUFFIXES))


def read_surface(source: str, space: VoxelSpace | None) -> tuple[Array, VoxelSpace]:
    """Read betas on surfaces.

    Parameters
    ----------
    source : str
        One file, or GIFTI files of hemispheres separated by a comma: ``lh.func.gii,rh.func.gii``.
    space : VoxelSpace, optional
        Which columns to take.

    Returns
    -------
    data : ndarray of shape (n_trials, n_columns), float32
    space : VoxelSpace
    """
    maps = read_maps(source)
    if space is None:
        space = VoxelSpace.columns(maps.shape[1])
    check_columns(source, maps.shape[1], space)
    data = maps if space.n_voxels == maps.shape[1] else maps[:, space.indices]
    check_values(data, source, unit="columns")
    return data, space


def read_maps(source: str) -> Array:
    """Read every map of one or several surface files, float32 (n_maps, n_columns)."""
    if not source.lower().endswith(".gii"):
        return _read_cifti(existing_file(source, CIFTI_KIND))
    # A comma separates hemispheres, unless a file of that very name exists.
    names = [source] if Path(source).is_file() else source.split(",")
    parts = [_read_gifti(existing_file(name.strip(), GIFTI_KIND)) for name in names]
    if len({len(part) for part in parts}) > 1:
        counts = ", ".join(f"{name} {len(part)}" for name, part in zip(names, parts, strict=True))
        raise InputError(
            f"the hemispheres hold different numbers of trials: {counts}",
            expected="the same trials in the same order in every file",
            remedy="give both hemispheres of the same trials",
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _read_gifti(path: Path) -> Array:
    from nibabel import GiftiImage

    with reading(path, GIFTI_KIND):
        # From bytes rather than by name: data kept in another file, wherever a header may
        # point, are then refused by the parser.
        arrays = [part.data for part in GiftiImage.from_bytes(path.read_bytes()).darrays]
        if not arrays:
            raise InputError(
                f"{path} holds zero trials",
                expected="one data array per trial",
                remedy="check how the data arrays were selected and save them again",
            )
        shapes = {np.shape(values) for values in arrays}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or 0 in next(iter(shapes)):
            raise InputError(
                f"{path} holds data arrays of the shapes {sorted(shapes)}",
                expected="one array (n_vertices,) per trial; coordinates and triangles are of a "
                ".surf.gii, which is no recording",
                remedy="save one data array per trial, as .func.gii",
            )
        out = np.empty((len(arrays), len(arrays[0])), dtype=np.float32)
        for row, values in enumerate(arrays):
            _check_dtype(path, values.dtype)
            out[row] = to_float32(np.asarray(values), str(path))
    return out


def _read_cifti(path: Path) -> Array:
    import nibabel
    from nibabel.cifti2.cifti2 import Cifti2Image
    from nibabel.cifti2.cifti2_axes import BrainModelAxis

    with reading(path, CIFTI_KIND):
        image = nibabel.load(path, mmap=False)
        if not isinstance(image, Cifti2Image) or len(image.shape) != 2:
            raise InputError(f"{path} is not a matrix in CIFTI-2 form", expected=CIFTI_KIND)
        axis = image.header.get_axis(1)  # type: ignore[no-untyped-call]
        if not isinstance(axis, BrainModelAxis) or len(axis) != image.shape[1]:
            raise InputError(
                f"{path} has columns that are not grayordinates",
                expected=CIFTI_KIND,
                remedy="parcellated files (.pscalar.nii) can be given as arrays (.npy)",
            )
        if 0 in image.shape:
            raise InputError(f"{path} holds zero trials or grayordinates {image.shape}", CIFTI_KIND)
        return _stream_cifti(path, image.dataobj)


def _stream_cifti(path: Path, stored: Any) -> Array:
    """Read in blocks of columns, which is how CIFTI lies on disk: all maps of a grayordinate."""
    n_maps, n_columns = (int(length) for length in stored.shape)
    _check_dtype(path, stored.dtype)
    declared = stored.offset + n_maps * n_columns * stored.dtype.itemsize
    if declared > path.stat().st_size:
        raise InputError(
            f"{path} is truncated: {path.stat().st_size} bytes, its header declares {declared}",
            expected="a complete file",
            remedy="copy it again from its source",
        )
    out = np.empty((n_maps, n_columns), dtype=np.float32)
    step = max(1, BLOCK_BYTES // (n_maps * stored.dtype.itemsize))
    for start in range(0, n_columns, step):
        columns = slice(start, min(start + step, n_columns))
        out[:, columns] = to_float32(np.asarray(stored[:, columns]), str(path))
    return out


def _check_dtype(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "iuf":
        raise InputError(
            f"{path} stores {dtype}",
            expected="real numbers",
            remedy="save the real quantity you mean as float32",
        )
