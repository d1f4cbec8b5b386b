"""An index on disk: opened memory-mapped, searched, verified."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.assembling import edges_hash
from phosphene.pipelines.retrieval.choice import Choice
from phosphene.pipelines.retrieval.exact_vectors import ExactVectors
from phosphene.pipelines.retrieval.faiss_index import FaissIndex
from phosphene.pipelines.retrieval.key_encoder import keys_of
from phosphene.pipelines.retrieval.metadata import Metadata
from phosphene.pipelines.retrieval.rerank import (
    csls,
    diversify,
    near_duplicates,
    probable,
    similarity,
)
from phosphene.pipelines.retrieval.search_result import SearchResult
from phosphene.schemas import IndexFile, SearchSpace
from phosphene.workfolder import PARTIAL

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.priors.retrieval import RetrievalProjector
    from phosphene.schemas import TargetSpec

__all__ = ["INDEX_NAME", "Index", "check_queries"]

Array = np.ndarray[Any, Any]
INDEX_NAME = "index.json"
SPARE = 16  # candidates beyond k, so that rounding at the last rank does not matter
POOL = 10  # candidates per result where these are put in another order
QUERIES = 32  # re-scored at a time: bounds the memory


class Index:
    """Pictures that can be searched by embeddings; use :meth:`open`.

    Examples
    --------
    ::

        from phosphene import Index

        index = Index.open("INDEX")
        index.search(embeddings, k=10).table()
    """

    def __init__(self, folder: Path, file: IndexFile) -> None:
        self.folder, self.file = folder, file
        self.choice = Choice(file.kind, file.parameters)

    def __len__(self) -> int:
        return self.file.n

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Index:
        """Open an index; vectors and metadata are read when they are needed.

        Raises
        ------
        InputError
            If it is no finished index, or a file is missing or damaged at its size, its head or
            its end. :meth:`verify` looks at all of it.
        """
        root = Path(folder)
        if not (root / INDEX_NAME).is_file():
            interrupted = (root / PARTIAL).is_dir()
            raise InputError(
                f"{root} " + ("holds an interrupted build" if interrupted else "is not an index")
                + f": it has no {INDEX_NAME}",
                expected="a folder written by `phosphene index build`",
                remedy="repeat that command with --resume" if interrupted else "check the path",
            )  # fmt: skip
        index = cls(root, IndexFile.load(root / INDEX_NAME))
        for known in index.file.files.values():
            path = root / known.name
            size = path.stat().st_size if path.is_file() else None
            if size != known.size or edges_hash(path) != known.edges:
                found = "is missing" if size is None else "was changed or damaged"
                raise InputError(
                    f"the file {known.name} of the index {root} {found}",
                    expected=f"{known.size} bytes, as {INDEX_NAME} says",
                    remedy="copy the index again from its source, or build it again",
                )
        return index

    @property
    def space(self) -> SearchSpace:
        """Where its vectors are compared."""
        return self.file.space

    @cached_property
    def structure(self) -> FaissIndex:
        """The search structure, memory-mapped."""
        path = self.folder / self.file.files["vectors"].name
        found = FaissIndex.open(path, self.choice, self.file.metric)
        if len(found) != len(self) or found.native.d != self.space.dimension:
            raise InputError(
                f"{path} holds {len(found)} vectors of {found.native.d} numbers",
                expected=f"{len(self)} of {self.space.dimension}, as {INDEX_NAME} says",
                remedy="copy the index again from its source, or build it again",
            )
        return found

    @cached_property
    def metadata(self) -> Metadata:
        """Identifier, path and caption of each row."""
        return Metadata(self.folder / self.file.files["metadata"].name)

    @cached_property
    def projector(self) -> RetrievalProjector | None:
        """What turns embeddings of the target into search keys."""
        from phosphene.priors.retrieval import RetrievalProjector

        if not self.space.projector:
            return None
        return RetrievalProjector.from_pretrained(self.folder / "projector")

    @cached_property
    def _exact(self) -> ExactVectors | None:
        files = self.file.files
        names = sorted(files[role].name for role in files if role.startswith("exact-"))
        return ExactVectors([self.folder / name for name in names]) if names else None

    def vectors(self, rows: Array) -> Array:
        """Return stored vectors (n, d) of rows, in float32."""
        if self._exact is not None:
            return self._exact.rows(rows)
        return self.structure.vectors(rows)

    def check_target(self, target: TargetSpec | str, name: str = "") -> None:
        """Refuse queries of another embedding space.

        Parameters
        ----------
        target : TargetSpec or str
            What the query's embedding is of; a str is the hash of one.
        name : str
            Of the query's space, for the message.
        """
        found = target if isinstance(target, str) else target.hash
        if found == self.space.target.hash:
            return
        words = name or (target if isinstance(target, str) else f"{target.name} {target.hash}")
        raise InputError(
            f"a query in the space of {words}, for the index {self.folder} in that of "
            f"{self.space.describe()}",
            expected="query and index of the same target",
            remedy=f"query with {self.file.target_name}, or build an index with the query's target",
        )

    def keys(self, embeddings: Any) -> Array:
        """Return search keys (n, d) of target embeddings (n, ...); keys are passed through."""
        shape = tuple(embeddings.shape)
        size = int(np.prod(self.space.target.shape))
        width = int(np.prod(shape[1:]))
        if self.space.projector and width == size:
            return keys_of(embeddings, self.projector)
        return check_queries(keys_of(embeddings, None), self.space)

    def search(
        self,
        embeddings: Any,
        k: int = 10,
        *,
        target: TargetSpec | str | None = None,
        effort: int | None = None,
        background: Array | None = None,
        diversity: float = 0.0,
        duplicates: float | None = None,
    ) -> SearchResult:
        """Find the k nearest pictures of each query; scores are exact.

        Parameters
        ----------
        embeddings : ndarray or Tensor of shape (n, ...) or (n, d)
            Embeddings of the index's target, or its search keys.
        k : int
        target : TargetSpec or str, optional
            What the embeddings are of; another target than the index's is refused.
        effort : int, optional
            More finds more of the true nearest, see :meth:`FaissIndex.candidates`.
        background : ndarray of shape (b, ...), optional
            Re-rank by CSLS with this sample of embeddings, see :func:`csls`.
        diversity : float
            Above 0, prefer results unlike one another, see :func:`diversify`.
        duplicates : float, optional
            Show one of pictures whose cosine reaches this.
        """
        if target is not None:
            self.check_target(target)
        if k < 1:
            raise UsageError(f"`k` is {k}", expected="1 or more")
        queries = self.keys(embeddings)
        wider = background is not None or diversity > 0 or duplicates is not None
        fetched = max(POOL * k if wider else k + SPARE, int(self.choice.parameters.get(
            "candidates", 0)))  # fmt: skip
        fetched, k = min(fetched, len(self)), min(k, len(self))
        sample = None if background is None else self.keys(background)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for start in range(0, len(queries), QUERIES):
            part = slice(start, start + QUERIES)
            found = self._candidates(queries[part], fetched, effort)
            kept = fetched if wider else min(k + SPARE, fetched)
            for place, one, score in self._ordered(
                queries[part], *self._kept(queries[part], found, kept), k, sample, diversity,
                duplicates,
            ):  # fmt: skip
                rows[start + place, : len(one)] = one
                scores[start + place, : len(one)] = score
        return SearchResult(rows, scores, self.metadata.rows)

    def _candidates(self, queries: Array, fetched: int, effort: int | None) -> Array:
        unit = queries
        if self.file.metric == "cosine":
            norms = np.linalg.norm(queries, axis=1, keepdims=True)
            unit = np.divide(queries, norms, out=np.zeros_like(queries), where=norms > 0)
        return self.structure.candidates(unit, fetched, effort=effort)

    def _kept(self, queries: Array, found: Array, count: int) -> tuple[Array, Array]:
        """Return rows (n, count) of the best candidates and their stored vectors."""
        stored = self.vectors(np.maximum(found, 0).ravel()).reshape(*found.shape, -1)
        if count == found.shape[1]:
            return found, stored
        places = probable(queries, stored, found, self.file.metric, count)
        rows = np.take_along_axis(found, places, axis=1)
        return rows, np.take_along_axis(stored, places[..., None], axis=1)

    def _ordered(
        self,
        queries: Array,
        found: Array,
        stored: Array,
        k: int,
        background: Array | None,
        diversity: float,
        duplicates: float | None,
    ) -> list[tuple[int, Array, Array]]:
        """Return (query, rows, scores) after exact scores and whatever else was asked for."""
        scores = similarity(queries, stored, self.file.metric)
        if background is not None:
            scores = csls(queries, stored, background)
        ordered = []
        for place in range(len(queries)):
            real = np.flatnonzero(found[place] >= 0)
            order = real[np.lexsort((found[place, real], -scores[place, real]))]
            if duplicates is not None and len(order):
                groups = near_duplicates(stored[place, order], duplicates)
                _, first = np.unique(groups, return_index=True)
                order = order[np.sort(first)]
            if diversity > 0 and len(order):
                chosen = diversify(scores[place, order], stored[place, order], k, weight=diversity)
                order = order[chosen]
            order = order[:k]
            ordered.append((place, found[place, order], scores[place, order]))
        return ordered

    def verify(self) -> pd.DataFrame:
        """Look at every byte, at counts and identifiers, and whether rows find themselves.

        Returns
        -------
        DataFrame
            Columns ``check`` and ``found``.

        Raises
        ------
        InputError
            If anything is not as it has to be.
        """
        from phosphene.pipelines.retrieval.verifying import verify_index

        return verify_index(self)


def check_queries(keys: Array, space: SearchSpace) -> Array:
    """Return keys (n, d) when they fit a space.

    Raises
    ------
    InputError
        If their number of dimensions is another, or they are not finite.
    """
    if keys.ndim != 2 or keys.shape[1] != space.dimension:
        raise InputError(
            f"queries of {keys.shape[-1]} numbers for an index in the space of {space.describe()}",
            expected=f"embeddings of that target, or keys of {space.dimension} numbers",
            remedy="embed the query with the index's own target",
        )
    if not np.isfinite(keys).all():
        raise InputError(
            "queries that are not finite",
            expected="numbers in every place",
            remedy="look for NaN or infinity in what was predicted",
        )
    return keys
