"""Vectors and their items become the files of an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.pipelines.retrieval.choice import Choice
from phosphene.pipelines.retrieval.exact_vectors import write_vectors
from phosphene.pipelines.retrieval.faiss_index import FaissIndex, training_rows
from phosphene.pipelines.retrieval.sources import METADATA_COLUMNS, refuse_duplicates
from phosphene.progress import progress
from phosphene.schemas import IndexedFile, IndexFile, SearchSpace
from phosphene.storage import atomic_path, hash_bytes, hash_file

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.priors.retrieval import RetrievalProjector

__all__ = ["EDGE", "build_structure", "describe_file", "edges_hash", "write_index", "write_items"]

Array = np.ndarray[Any, Any]
EDGE = 64 << 10  # bytes at either end of a file that opening compares
ROWS_PER_GROUP = 1 << 16  # of metadata that are read at a time


def build_structure(
    folder: Path,
    choice: Choice,
    space: SearchSpace,
    metric: Any,
    n: int,
    blocks: Callable[[], Iterable[Array]],
    *,
    stem: str = "vectors",
) -> dict[str, IndexedFile]:
    """Write the search structure, and the exact vectors where the structure only has codes.

    Parameters
    ----------
    folder : Path
    choice : Choice
    space : SearchSpace
    metric : str
    n : int
        Vectors in all blocks.
    blocks : callable
        Returns the vectors (m, d) block by block, each time anew: memory holds one at a time,
        besides those that teach the structure.
    stem : str
        Name of the file.
    """
    rows = training_rows(choice, n)
    sample = np.concatenate(list(_picked(blocks(), rows)))
    made = FaissIndex.build(choice, space.dimension, metric, sample, _bar(blocks(), "indexing"))
    made.save(folder / f"{stem}.faiss")
    files = {"vectors": describe_file(folder, f"{stem}.faiss")}
    if choice.kind == "ivfpq":
        for name in write_vectors(folder, blocks()):
            files[name.removesuffix(".npy")] = describe_file(folder, name)
    return files


def write_items(folder: Path, items: pd.DataFrame, *, stem: str = "metadata") -> IndexedFile:
    """Write ``id``, ``path`` and ``caption`` of all rows in groups that are read one at a time."""
    with atomic_path(folder / f"{stem}.parquet") as temporary:
        items[list(METADATA_COLUMNS)].to_parquet(
            temporary, index=False, row_group_size=ROWS_PER_GROUP
        )
    return describe_file(folder, f"{stem}.parquet")


def write_index(
    folder: Path,
    *,
    target_name: str,
    space: SearchSpace,
    projector: RetrievalProjector | None,
    metric: Any,
    choice: Choice,
    automatic: bool,
    items: pd.DataFrame,
    skipped: pd.DataFrame,
    sources: list[str],
    blocks: Callable[[], Iterable[Array]],
    additions: list[str],
) -> IndexFile:
    """Write all files of an index into a folder, ``index.json`` last."""
    refuse_duplicates(items["id"], "the collection")
    files = build_structure(folder, choice, space, metric, len(items), blocks)
    files["metadata"] = write_items(folder, items)
    if projector is not None:
        projector.save_pretrained(folder / "projector")
        for name in ("config.json", "model.safetensors"):
            files[f"projector/{name}"] = describe_file(folder, f"projector/{name}")
    if len(skipped):
        with atomic_path(folder / "skipped.tsv") as temporary:
            skipped.to_csv(temporary, sep="\t", index=False)
        files["skipped"] = describe_file(folder, "skipped.tsv")
    made = IndexFile(
        target_name=target_name,
        space=space,
        metric=metric,
        kind=choice.kind,
        automatic=automatic,
        parameters=choice.parameters,
        n=len(items),
        n_skipped=len(skipped),
        sources=sources,
        files=files,
        additions=additions,
        created_with=f"phosphene {phosphene.__version__}",
    )
    made.save(folder / "index.json")
    return made


def describe_file(folder: Path, name: str) -> IndexedFile:
    """Return name, size and hashes of a file."""
    path = folder / name
    return IndexedFile(
        name=name, size=path.stat().st_size, sha256=hash_file(path), edges=edges_hash(path)
    )


def edges_hash(path: Path) -> str:
    """Return the hash of a file's two ends: cheap, and where headers stand."""
    with path.open("rb") as handle:
        head = handle.read(EDGE)
        handle.seek(max(0, path.stat().st_size - EDGE))
        return hash_bytes(head + handle.read(EDGE))[:16]


def _picked(blocks: Iterable[Array], rows: Array) -> Iterator[Array]:
    """Yield the given rows, increasing, of blocks that follow one another."""
    first = 0
    for block in blocks:
        inside = rows[(rows >= first) & (rows < first + len(block))] - first
        if len(inside):
            yield np.asarray(block[inside], dtype=np.float32)
        first += len(block)
        if first > rows[-1]:
            break


def _bar(blocks: Iterable[Array], label: str) -> Iterator[Array]:
    """Join small blocks, since structures take many vectors at a time faster, and show progress."""
    yield from progress(_joined(iter(blocks)), label=label)


def _joined(blocks: Iterator[Array]) -> Iterator[Array]:
    waiting: list[Array] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= ROWS_PER_GROUP // 4:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
