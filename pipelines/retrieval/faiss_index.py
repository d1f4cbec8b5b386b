"""faiss underneath: building, writing, memory-mapped opening, candidates of a search.

Douze et al. 2024, *The Faiss library*.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.names import require
from phosphene.pipelines.retrieval.choice import GRAPH_OF_LISTS, POINTS_PER_LIST, Choice
from phosphene.storage import atomic_path

__all__ = ["FaissIndex", "training_rows"]

Array = np.ndarray[Any, Any]
Metric = Literal["cosine", "dot", "euclidean"]
LISTS_EFFORT = 64  # candidates kept while a graph looks for the list a vector belongs to


class FaissIndex:
    """One search structure of faiss over float32 vectors.

    Parameters
    ----------
    native : faiss.Index
    choice : Choice
        What it is and how it is searched.
    metric : {"cosine", "dot", "euclidean"}
    """

    def __init__(self, native: Any, choice: Choice, metric: Metric) -> None:
        self.native, self.choice, self.metric = native, choice, metric

    def __len__(self) -> int:
        return int(self.native.ntotal)

    @classmethod
    def build(
        cls, choice: Choice, dimension: int, metric: Metric, sample: Array, blocks: Iterable[Array]
    ) -> FaissIndex:
        """Train on a sample (m, d) where the kind learns anything, and add blocks (n, d)."""
        faiss = require("faiss", "retrieval")
        # Principal components are centred, which changes products but no distance; between vectors
        # of unit length both give the same order.
        distance = metric == "euclidean" or (metric == "cosine" and choice.kind == "ivfpq")
        measure = faiss.METRIC_L2 if distance else faiss.METRIC_INNER_PRODUCT
        native = faiss.index_factory(dimension, _factory(choice, dimension, metric), measure)
        if choice.kind == "hnsw":
            native.hnsw.efConstruction = int(choice.parameters["construction"])
        elif choice.kind == "ivfpq":
            lists = faiss.downcast_index(faiss.extract_index_ivf(native).quantizer)
            if isinstance(lists, faiss.IndexHNSW):
                lists.hnsw.efSearch = LISTS_EFFORT
        made = cls(native, choice, metric)
        if not native.is_trained or choice.kind == "ivfpq":
            native.train(np.ascontiguousarray(sample, dtype=np.float32))
        for block in blocks:
            made.add(block)
        return made

    def add(self, vectors: Array) -> None:
        """Add vectors (n, d) behind those that are there."""
        self.native.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def save(self, path: Path) -> None:
        """Write one file, atomically."""
        faiss = require("faiss", "retrieval")
        with atomic_path(path) as temporary:
            faiss.write_index(self.native, os.fspath(temporary))

    @classmethod
    def open(
        cls, path: Path, choice: Choice, metric: Metric, *, memory_map: bool = True
    ) -> FaissIndex:
        """Open a file, memory-mapped unless vectors are to be added.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        faiss = require("faiss", "retrieval")
        flag = 0
        if memory_map:  # inverted lists and plain arrays are mapped by different readers
            flag = faiss.IO_FLAG_MMAP if choice.kind == "ivfpq" else faiss.IO_FLAG_MMAP_IFC
        with reading(path, "the search structure of an index"):
            native = faiss.read_index(os.fspath(path), flag)
        return cls(native, choice, metric)

    def candidates(self, queries: Array, k: int, *, effort: int | None = None) -> Array:
        """Return the rows (n, k) of probable nearest vectors, best first; -1 where there is none.

        Parameters
        ----------
        queries : ndarray of shape (n, d)
        k : int
        effort : int, optional
            HNSW: candidates kept while walking the graph. IVF-PQ: lists visited. More finds more
            and takes longer.
        """
        faiss = require("faiss", "retrieval")
        vectors = np.ascontiguousarray(queries, dtype=np.float32)
        options: Any = None
        if self.choice.kind == "hnsw":
            width = int(self.choice.parameters["effort"]) if effort is None else effort
            options = faiss.SearchParametersHNSW(efSearch=max(width, k))
        elif self.choice.kind == "ivfpq":
            probes = int(self.choice.parameters["probes"]) if effort is None else effort
            options = faiss.SearchParametersPreTransform(
                index_params=faiss.SearchParametersIVF(nprobe=probes)
            )
            # One at a time: for many together faiss goes from list to list, which is slower where
            # many lists are visited, and rounds tables otherwise.
            found = [self.native.search(one[None], k, params=options)[1] for one in vectors]
            return np.concatenate(found).astype(np.int64)
        _, rows = self.native.search(vectors, k, params=options)
        return np.asarray(rows, dtype=np.int64)

    def vectors(self, rows: Array) -> Array:
        """Return stored vectors (n, d) of rows, where the structure keeps them (not IVF-PQ)."""
        found: Array = self.native.reconstruct_batch(np.asarray(rows, dtype=np.int64))
        return found


def training_rows(choice: Choice, n: int, *, seed: int = 0) -> Array:
    """Return which rows of n teach a structure, increasing: at random, for shards are in order."""
    if choice.kind != "ivfpq":
        return np.arange(min(n, 1))
    wanted = max(POINTS_PER_LIST * int(choice.parameters["lists"]), POINTS_PER_LIST * 256)
    if wanted >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, wanted, replace=False))


def _factory(choice: Choice, dimension: int, metric: Metric) -> str:
    parameters = choice.parameters
    if choice.kind == "flat":
        return "Flat"
    if choice.kind == "hnsw":
        return f"HNSW{parameters['links']}_SQfp16"
    # A rotation spreads the variance of principal components evenly over the parts of a code.
    parts, lists = int(parameters["parts"]), int(parameters["lists"])
    rotation = f"PCAR{parameters['reduced']}"
    if metric == "dot":
        rotation = f"RR{dimension // parts * parts}"
    graph = "_HNSW32" if lists >= GRAPH_OF_LISTS else ""
    return f"{rotation},IVF{lists}{graph},PQ{parts}x4fs"
