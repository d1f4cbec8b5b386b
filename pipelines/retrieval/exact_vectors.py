"""Half-precision vectors on disk, memory-mapped, in a few large arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from phosphene.errors import InputError
from phosphene.storage import atomic_path, load_array

__all__ = ["ExactVectors", "as_stored", "write_vectors"]

Array = np.ndarray[Any, Any]
ROWS_PER_FILE = 1 << 20


class ExactVectors:
    """Vectors (n, d) that lie in several files, read row by row."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.arrays = [load_array(file) for file in files]
        self.starts = np.cumsum([0, *map(len, self.arrays)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows(self, rows: Array) -> Array:
        """Return vectors (n, d) in float32, in the order of ``rows``."""
        rows = np.asarray(rows, dtype=np.int64)
        found = np.empty((len(rows), self.arrays[0].shape[1]), dtype=np.float32)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            found[mine] = self.arrays[number][rows[mine] - self.starts[number]]
        return found


def as_stored(vectors: Array, metric: str, *, source: str) -> Array:
    """Return vectors (n, d) as an index keeps them: of unit length for cosine, in float16.

    Raises
    ------
    InputError
        If a row is not finite, beyond the range of float16, or zero where directions are compared.
    """
    values = np.asarray(vectors, dtype=np.float32)
    if metric == "cosine":
        norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            values = (values / norms).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(stored).all(axis=1))
    if len(bad):
        row = np.asarray(vectors)[bad[0]]
        reason = "has no direction: all its numbers are zero"
        if not np.isfinite(row).all():
            reason = "is not finite"
        elif row.any():
            reason = "has numbers beyond the range of half precision"
        raise InputError(
            f"{len(bad)} of {len(values)} embeddings of {source} cannot be indexed: row {bad[0]} "
            f"{reason}",
            expected="finite numbers" + (", not all zero" if metric == "cosine" else ""),
            remedy="leave these rows out, or look for what made them",
        )
    return stored


def write_vectors(folder: Path, blocks: Iterable[Array], *, first: int = 0) -> list[str]:
    """Write blocks (n, d) as ``exact-0000.npy`` and so on; return the names.

    Each block is written as it comes, so that memory holds one.
    """
    names: list[str] = []
    remaining = iter(blocks)
    for block in remaining:
        names.append(f"exact-{first + len(names):04d}.npy")
        _write_file(folder / names[-1], chain([block], remaining))
    return names


def _write_file(path: Path, blocks: Iterator[Array]) -> None:
    """Write blocks until a file is full; its header is written again when the rows are known.

    NumPy leaves room in a header for the first axis to grow.
    """
    with atomic_path(path) as temporary, temporary.open("w+b") as handle:
        rows = 0
        for block in blocks:
            if rows == 0:
                start = _write_header(handle, block, 0)
            np.ascontiguousarray(block).tofile(handle)
            rows += len(block)
            if rows >= ROWS_PER_FILE:
                break
        handle.seek(0)
        if _write_header(handle, block, rows) != start:
            raise AssertionError("the header of an array file did not fit where it stood")


def _write_header(handle: BinaryIO, block: Array, rows: int) -> int:
    """Write the header of an array of ``rows`` such rows; return where it ends."""
    facts = {
        "descr": np.lib.format.dtype_to_descr(block.dtype),
        "fortran_order": False,
        "shape": (rows, block.shape[1]),
    }
    np.lib.format.write_array_header_1_0(handle, facts)
    return handle.tell()
