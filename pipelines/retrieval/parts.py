"""The finished parts of a build: what a killed build keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.storage import atomic_path, load_array, save_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Parts"]

Array = np.ndarray[Any, Any]


class Parts:
    """Embedded stretches of a collection in a folder, each of two tables and an array.

    The array is written last and vouches for the others: a part that has it is finished and is
    never computed again.

    Parameters
    ----------
    folder : Path
    n_items : int
        Of the collection.
    part_size : int
        Items per part.
    """

    def __init__(self, folder: Path, n_items: int, part_size: int) -> None:
        self.folder, self.n_items, self.part_size = folder, n_items, part_size

    def __len__(self) -> int:
        return -(-self.n_items // self.part_size)

    def rows(self, part: int) -> range:
        """Return the rows of the collection that a part holds."""
        first = part * self.part_size
        return range(first, min(first + self.part_size, self.n_items))

    def finished(self, part: int) -> bool:
        """Return whether a part is complete."""
        return self._path(part, ".npy").is_file()

    def write(self, part: int, vectors: Array, items: pd.DataFrame, skipped: pd.DataFrame) -> None:
        """Write a part: vectors (n, d) with their items, and what was skipped and why."""
        for table, ending in ((items, ".parquet"), (skipped, ".skipped.parquet")):
            with atomic_path(self._path(part, ending)) as temporary:
                table.to_parquet(temporary, index=False)
        save_array(self._path(part, ".npy"), vectors)

    def vectors(self) -> Iterator[Array]:
        """Yield the arrays (n, d) of all parts in order; empty ones are left out."""
        for part in range(len(self)):
            array = load_array(self._path(part, ".npy"))
            if len(array):
                yield array

    def items(self) -> pd.DataFrame:
        """Return ``id``, ``path`` and ``caption`` of everything that was embedded."""
        return self._tables(".parquet")

    def skipped(self) -> pd.DataFrame:
        """Return ``id``, ``path`` and ``reason`` of what was not."""
        return self._tables(".skipped.parquet")

    def _tables(self, ending: str) -> pd.DataFrame:
        import pandas as pd

        tables = []
        for part in range(len(self)):
            with reading(self._path(part, ending), "a table of an interrupted build"):
                tables.append(pd.read_parquet(self._path(part, ending)))
        return pd.concat(tables, ignore_index=True)

    def _path(self, part: int, ending: str) -> Path:
        return self.folder / f"part-{part:06d}{ending}"
