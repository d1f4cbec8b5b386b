"""Pictures kept as rows of one large array: read row by row, never whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures, as_pictures
from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.storage import load_array

__all__ = ["array_rows", "hdf5_rows"]

Array = np.ndarray[Any, Any]
KIND = "a stack of pictures in HDF5"


def hdf5_rows(path: Path, key: str) -> Callable[[int], Pictures]:
    """Return what reads one picture of an HDF5 stack, uint8 (H, W, C).

    Parameters
    ----------
    path : Path
    key : str
        ``imgBrick`` of the official stack (n, H, W, 3) uint8, ``images`` of MindEye2's
        (n, 3, H, W) floats of 0 to 1.

    Raises
    ------
    InputError
        If the file or the stack in it is not there, or a picture is beyond its end.
    """
    existing_file(path, KIND)
    with reading(path, KIND):
        stack = require("h5py", "nsd").File(path, "r").get(key)
        shape = getattr(stack, "shape", None)
    if shape is None or len(shape) != 4:
        raise InputError(
            f"{path} has no stack {key!r} of pictures", f"{key} of four axes", "copy it again"
        )

    def read(row: int) -> Pictures:
        if not 0 <= row < shape[0]:
            raise InputError(
                f"{path} has {shape[0]} pictures and no row {row}",
                expected="every picture that was shown",
                remedy="copy the file of all 73,000 pictures",
            )
        with reading(path, KIND):
            values = np.asarray(stack[row])
        return _one(values, f"picture {row} of {path}")

    return read


def array_rows(path: Path) -> Callable[[int], Pictures]:
    """Return what reads one picture of an ``.npy`` stack, through its memory map."""
    stack = load_array(path)
    if stack.ndim != 4:
        raise InputError(f"{path} has the shape {stack.shape}", "pictures (n, H, W, 3)")

    def read(row: int) -> Pictures:
        return _one(np.asarray(stack[row]), f"picture {row} of {path}")

    return read


def _one(values: Array, source: str) -> Pictures:
    """Return one picture; whole numbers of 0 to 255 that were kept as floats are taken back."""
    if values.dtype.kind == "f" and values.size and float(values.max()) > 1:
        rounded = np.rint(values)
        if rounded.min() < 0 or rounded.max() > 255 or not np.array_equal(rounded, values):
            raise InputError(
                f"{source} holds {values.dtype} values from {values.min():g} to {values.max():g}",
                expected="whole numbers from 0 to 255, or floats from 0 to 1",
            )
        values = rounded.astype(np.uint8)
    return np.asarray(as_pictures(values[None], source=source)[0])
