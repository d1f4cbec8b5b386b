"""Half-precision vectors on disk, memory-mapped, in a few large arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.storage import load_array, save_array

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
    """Write blocks (n, d) as ``exact-0000.npy`` and so on; return the names."""
    names: list[str] = []
    for number, block in enumerate(_regrouped(blocks, ROWS_PER_FILE)):
        names.append(f"exact-{first + number:04d}.npy")
        save_array(folder / names[-1], block)
    return names


def _regrouped(blocks: Iterable[Array], rows: int) -> Iterator[Array]:
    waiting: list[Array] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= rows:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)
