"""What a search found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESULT_COLUMNS", "SearchResult"]

RESULT_COLUMNS = ("query", "rank", "score", "id", "path", "caption")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The k best of an index for each query, best first.

    Attributes
    ----------
    rows : ndarray of shape (n_queries, k)
        Rows of the index; -1 where fewer than k were found.
    scores : ndarray of shape (n_queries, k)
        Similarity, larger is better: cosine, product, or minus the Euclidean distance.
    """

    rows: Array
    scores: Array
    _describe: Callable[[Array], pd.DataFrame] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> list[list[str]]:
        """Identifiers, best first, for each query."""
        table = self._describe(self.rows[self.rows >= 0])
        counts = (self.rows >= 0).sum(axis=1)
        ends = np.cumsum(counts)
        found = table["id"].tolist()
        return [found[end - count : end] for count, end in zip(counts, ends, strict=True)]

    def table(self, queries: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns ``query rank score id path caption``, one row per picture found.

        Parameters
        ----------
        queries : sequence of str, optional
            Names of the queries; their numbers by default.
        """
        names = [str(number) for number in range(len(self))] if queries is None else list(queries)
        found = self.rows >= 0
        table = self._describe(self.rows[found])
        place, rank = np.nonzero(found)
        table.insert(0, "query", [names[number] for number in place])
        table.insert(1, "rank", rank + 1)
        table.insert(2, "score", self.scores[found])
        return table[list(RESULT_COLUMNS)]
