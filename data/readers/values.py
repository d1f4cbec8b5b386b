"""Checks on the values of a recording, made in blocks so that memory stays flat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from phosphene.errors import InputError

__all__ = ["blocks", "check_values", "to_float32"]

Array = np.ndarray[Any, Any]
BLOCK_BYTES = 16 * 2**20

# A single exact zero is an ordinary value of a beta stored as int16. Zero in each of four or
# more trials is a voxel without data, and so is a share of such voxels above one in twenty.
FEW_TRIALS = 4
ZERO_SHARE = 0.05


def blocks(array: Array) -> Iterator[tuple[slice, slice, Array]]:
    """Walk once through a 2-D array in the order in which it is stored.

    Memory-mapped arrays are read through the file instead of the map: pages of a map that were
    touched count as the process's own memory until the map is closed.

    Yields
    ------
    rows, columns : slice
        Where the block lies.
    block : ndarray
        ``array[rows, columns]``.
    """
    by_column = array.flags.f_contiguous and not array.flags.c_contiguous
    stored = array.T if by_column else array
    n_lines, length = stored.shape
    step = max(1, BLOCK_BYTES // max(1, length * array.itemsize))
    file = _file_of(array)
    for start in range(0, n_lines, step):
        lines = slice(start, min(start + step, n_lines))
        if file is not None:
            count = (lines.stop - lines.start) * length
            offset = cast("np.memmap[Any, Any]", array).offset + start * length * array.itemsize
            part = np.fromfile(file, dtype=array.dtype, count=count, offset=offset)
            part = part.reshape(-1, length)
        else:
            part = stored[lines]
        yield (slice(None), lines, part.T) if by_column else (lines, slice(None), part)


def _file_of(array: Array) -> Path | None:
    """Return the file an array maps from ``offset`` to the end; views of parts have none."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return None
    file = Path(str(array.filename))
    return file if file.stat().st_size == array.offset + array.nbytes else None


def to_float32(values: Array, source: str) -> Array:
    """Return ``values`` as float32; a finite value beyond its range is an error."""
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    overflow = np.isinf(converted) & np.isfinite(values)
    if overflow.any():
        raise InputError(
            f"{source} holds values up to {np.abs(values[overflow]).max():.3g}",
            expected=f"values that float32 can hold (below {np.finfo(np.float32).max:.3g})",
            remedy="rescale the recording; betas are usually percent signal change",
        )
    return converted


def check_values(data: Array, source: str, *, unit: str = "voxels") -> None:
    """Refuse values that are not finite, columns without data and trials without data.

    Parameters
    ----------
    data : ndarray of shape (n_trials, n_columns) or (n_trials, n_chans, n_times)
    source : str
        Name of the file, for the message.
    unit : str
        What a column (or channel) is called.

    Raises
    ------
    InputError
        Counting the columns and trials concerned. A column that is zero in every trial is
        refused when there are four or more trials or when more than 5 % of the columns are so.
    """
    n_trials, n_units = data.shape[:2]
    flat = data.reshape(n_trials, -1)
    bad_rows, bad_columns = np.zeros(n_trials, bool), np.zeros(flat.shape[1], bool)
    live_rows, live_columns = np.zeros(n_trials, bool), np.zeros(flat.shape[1], bool)
    for rows, columns, block in blocks(flat):
        finite = np.isfinite(block)
        if not finite.all():
            bad_rows[rows] |= ~finite.all(axis=1)
            bad_columns[columns] |= ~finite.all(axis=0)
        nonzero = block != 0
        live_rows[rows] |= nonzero.any(axis=1)
        live_columns[columns] |= nonzero.any(axis=0)
    # A channel of EEG or MEG counts once, whatever its number of time points.
    bad_units = np.logical_or.reduce(bad_columns.reshape(n_units, -1), axis=1)
    live_units = np.logical_or.reduce(live_columns.reshape(n_units, -1), axis=1)
    _refuse_nonfinite(source, unit, bad_rows, bad_units)
    _refuse_zeros(source, unit, live_rows, live_units)


def _refuse_nonfinite(source: str, unit: str, rows: Array, columns: Array) -> None:
    if rows.any():
        raise InputError(
            f"{source} holds NaN or infinity in {columns.sum()} of {columns.size} {unit}, "
            f"in {rows.sum()} of {rows.size} trials",
            expected="a finite number everywhere",
            remedy=_leave_out(unit) + ", or drop those trials",
        )


def _refuse_zeros(source: str, unit: str, rows: Array, columns: Array) -> None:
    dead = int((~columns).sum())
    if dead and (rows.size >= FEW_TRIALS or dead > math.floor(ZERO_SHARE * columns.size)):
        raise InputError(
            f"{source} is zero in every trial in {dead} of {columns.size} {unit}",
            expected=f"{unit} with data: zeros everywhere mean outside the brain or the scan",
            remedy=_belongs(unit) + _leave_out(unit),
        )
    empty = np.flatnonzero(~rows)
    if empty.size and columns.size >= FEW_TRIALS:
        raise InputError(
            f"{source} is zero in all {columns.size} {unit} in {empty.size} of {rows.size} "
            f"trials, the first being row {empty[0]} (from 0)",
            expected="data in every trial",
            remedy="drop those trials from the recording and from the trials table",
        )


def _leave_out(unit: str) -> str:
    return "drop those channels" if unit == "channels" else f"leave those {unit} out with --roi"


def _belongs(unit: str) -> str:
    """Say what else zeros may mean: where one person has voxels, another one has none."""
    return "check that the scan is of that subject, or " if unit == "voxels" else ""
