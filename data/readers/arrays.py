"""Arrays of trials by columns: ``.npy`` (memory-mapped), ``.npz`` and ``FILE.npz:KEY``."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.data.readers.grids import check_columns
from phosphene.data.readers.values import blocks, check_values, to_float32
from phosphene.errors import InputError
from phosphene.storage import load_array
from phosphene.types import VoxelSpace

__all__ = ["load_checked", "read_array", "read_matrix"]

Array = np.ndarray[Any, Any]
KIND = "an array file (.npy, .npz or FILE.npz:KEY)"


def load_checked(source: str) -> Array:
    """Load an array of numbers; a file that is damaged in any way raises :class:`InputError`."""
    with reading(source, KIND), np.errstate(over="ignore"):  # hostile headers overflow sizes
        array = load_array(source)
        if array.dtype.kind not in "biufc":
            raise InputError(
                f"{source} holds values of the type {array.dtype}",
                expected="plain numbers",
                remedy="save it again as numbers: numpy.save(path, values.astype('float32'))",
            )
        return array


def read_matrix(source: str, space: VoxelSpace | None) -> tuple[Array, VoxelSpace]:
    """Read fMRI betas stored as an array.

    Parameters
    ----------
    source : str
        A file of shape (n_trials, n_columns), float16, float32 or float64.
    space : VoxelSpace, optional
        Which columns to take. A space of volumes fits an array of just its voxels, in the
        order of the mask.

    Returns
    -------
    data : ndarray of shape (n_trials, n_voxels)
        float16 or float32; a memory map where the file can serve as it is.
    space : VoxelSpace

    Raises
    ------
    InputError
        For another number of axes or columns, integers or complex numbers, values that are not
        finite, and columns or trials that are zero throughout.
    """
    array = load_checked(source)
    _check_dtype(source, array)
    if array.ndim == 1:
        raise InputError(
            f"{source} has one axis, of length {array.size}",
            expected="(n_trials, n_voxels)",
            remedy=f"for one trial reshape it: values.reshape(1, {array.size})",
        )
    if array.ndim != 2:
        raise InputError(
            f"{source} has the shape {array.shape}",
            expected="(n_trials, n_voxels), two axes, for fMRI",
            remedy="flatten the voxels: values.reshape(len(values), -1); three axes are for "
            "--modality eeg or meg",
        )
    _check_empty(source, array)
    if space is None:
        space = VoxelSpace.columns(array.shape[1])
    columns = None
    if len(space.grid_shape) == 1 or array.shape[1] != space.n_voxels:
        check_columns(source, array.shape[1], space)
        columns = None if space.n_voxels == array.shape[1] else space.indices
    data = _converted(source, array, columns)
    check_values(data, source, unit="columns")
    return data, space


def read_array(source: str) -> Array:
    """Read EEG or MEG epochs stored as an array (n_trials, n_chans, n_times)."""
    array = load_checked(source)
    _check_dtype(source, array)
    if array.ndim != 3:
        raise InputError(
            f"{source} has the shape {array.shape}",
            expected="(n_trials, n_chans, n_times) for EEG and MEG",
            remedy="reshape it; for one trial values[numpy.newaxis]",
        )
    _check_empty(source, array)
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    data = _converted(source, array.reshape(len(array), -1), None).reshape(array.shape)
    check_values(data, source, unit="channels")
    return data


def _check_dtype(source: str, array: Array) -> None:
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        return
    advice = {
        "c": "take the real quantity you mean, numpy.abs(values) or values.real",
        "f": "values.astype('float32')",
    }
    raise InputError(
        f"{source} holds {array.dtype} values",
        expected="float16, float32 or float64",
        remedy=advice.get(
            array.dtype.kind,
            "convert it with values.astype('float32'), and divide by the scale factor it was "
            "stored with (integer betas usually have one, such as 300)",
        ),
    )


def _check_empty(source: str, array: Array) -> None:
    if 0 in array.shape:
        what = "zero trials" if len(array) == 0 else "trials without columns"
        raise InputError(
            f"{source} holds {what} (its shape is {array.shape})",
            "at least one trial and column",
            remedy="check how the array was cut out and save it again",
        )


def _converted(source: str, array: Array, columns: Array | None) -> Array:
    """Return the columns as native float16 or float32, copying only where it has to be."""
    if columns is None and array.dtype.isnative and array.dtype.itemsize <= 4:
        return array
    narrow = np.dtype(np.float16 if array.dtype.itemsize == 2 else np.float32)
    with reading(source, KIND):
        n_columns = array.shape[1] if columns is None else len(columns)
        out = np.empty((len(array), n_columns), dtype=narrow)
        for rows, part, block in blocks(array):
            values = to_float32(block, source) if array.dtype.itemsize == 8 else block
            if columns is None:
                out[rows, part] = values
            else:
                start, stop, _ = part.indices(array.shape[1])
                low, high = np.searchsorted(columns, (start, stop))
                out[rows, low:high] = values[:, columns[low:high] - start]
    return out
