"""What is known about each row of an index, read a group of rows at a time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.pipelines.retrieval.sources import METADATA_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Metadata"]

KIND = "the metadata of an index"
GROUPS_IN_MEMORY = 8


class Metadata:
    """Identifier, path and caption by row.

    Parameters
    ----------
    path : Path
        A parquet file with the columns ``id``, ``path`` and ``caption``.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path = path
        with reading(path, KIND):
            self._file: Any = pq.ParquetFile(path)
            counts = [
                self._file.metadata.row_group(group).num_rows
                for group in range(self._file.metadata.num_row_groups)
            ]
        self._starts = np.cumsum([0, *counts])
        self._group = lru_cache(maxsize=GROUPS_IN_MEMORY)(self._read_group)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, rows: np.ndarray[Any, Any]) -> pd.DataFrame:
        """Return the table of rows, in their order."""
        import pandas as pd

        wanted = np.asarray(rows, dtype=np.int64)
        groups = np.searchsorted(self._starts, wanted, side="right") - 1
        places, parts = [], [pd.DataFrame(columns=list(METADATA_COLUMNS), dtype=str)]
        for group in np.unique(groups):
            places.append(np.flatnonzero(groups == group))
            table = self._group(int(group))
            parts.append(table.iloc[wanted[places[-1]] - self._starts[group]])
        if not places:
            return parts[0]
        order = np.argsort(np.concatenate(places))
        return pd.concat(parts[1:]).iloc[order].reset_index(drop=True)

    def between(self, start: int, stop: int) -> pd.DataFrame:
        """Return the table of rows start to stop - 1."""
        import pandas as pd

        groups = range(
            int(np.searchsorted(self._starts, start, side="right")) - 1,
            int(np.searchsorted(self._starts, stop, side="left")),
        )
        table = pd.concat([self._group(group) for group in groups], ignore_index=True)
        first = int(self._starts[groups.start])
        return table.iloc[start - first : stop - first].reset_index(drop=True)

    def all(self) -> pd.DataFrame:
        """Return the whole table."""
        with reading(self.path, KIND):
            table: pd.DataFrame = self._file.read().to_pandas()
        return table

    def _read_group(self, group: int) -> pd.DataFrame:
        with reading(self.path, KIND):
            table: pd.DataFrame = self._file.read_row_group(group).to_pandas()
        return table
