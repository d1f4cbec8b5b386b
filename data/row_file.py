"""Rows written one block after another and read back memory-mapped: memory stays flat."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from phosphene.errors import UsageError
from phosphene.storage import write_error

__all__ = ["RowFile"]

Array = np.ndarray[Any, Any]
BLOCK_BYTES = 64 * 2**20


class RowFile:
    """A temporary file of float32 rows.

    Parameters
    ----------
    path : Path
    width : int
        Numbers of a row.
    """

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width, self.n_rows = path, width, 0
        try:
            self._handle = path.open("wb")
        except OSError as error:
            raise write_error(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()

    def append(self, rows: Array) -> None:
        """Write rows (n, width)."""
        if rows.shape[1:] != (self.width,):
            raise UsageError(f"rows of shape {rows.shape}", f"(n, {self.width})")
        try:
            self._handle.write(np.ascontiguousarray(rows, dtype=np.float32).data)
        except OSError as error:
            raise write_error(self.path, error) from error
        self.n_rows += len(rows)

    def read(self) -> Array:
        """Return all rows, memory-mapped (n_rows, width)."""
        self._handle.flush()
        return np.memmap(self.path, np.float32, "r", shape=(self.n_rows, self.width))

    def keep_columns(self, path: Path, columns: Array) -> RowFile:
        """Return a new file with some of the columns."""
        rows = self.read()
        kept = RowFile(path, len(columns))
        step = max(1, BLOCK_BYTES // (4 * self.width))
        for start in range(0, self.n_rows, step):
            kept.append(np.asarray(rows[start : start + step])[:, columns])
        return kept
