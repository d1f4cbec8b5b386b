"""Indexes by name: a folder, or a collection of a Qdrant server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.key_encoder import projector_hash

if TYPE_CHECKING:
    from phosphene.pipelines.retrieval.qdrant_index import QdrantIndex
    from phosphene.priors.retrieval import RetrievalProjector

__all__ = ["QDRANT", "lend_projector", "open_index", "upload_index"]

QDRANT = "qdrant:"


def open_index(name: str | os.PathLike[str]) -> Index | QdrantIndex:
    """Open a folder, or ``qdrant:LOCATION/COLLECTION``.

    Parameters
    ----------
    name : str or path
        ``LOCATION`` is an address such as ``http://localhost:6333``, or a folder of local mode.
    """
    words = os.fspath(name)
    if not words.startswith(QDRANT):
        return Index.open(words)
    from phosphene.pipelines.retrieval.qdrant_index import QdrantIndex

    return QdrantIndex.open(*_parts(words))


def upload_index(
    folder: str | os.PathLike[str], to: str, *, shards: int | None = None
) -> QdrantIndex:
    """Copy an index's vectors and metadata to ``qdrant:LOCATION/COLLECTION``."""
    from phosphene.pipelines.retrieval.qdrant_index import QdrantIndex

    if shards is not None and shards < 1:
        raise UsageError(f"`shards` is {shards}", expected="1 or more")
    location, collection = _parts(to)
    return QdrantIndex.upload(Index.open(folder), location, collection, shards=shards)


def lend_projector(
    index: Index | QdrantIndex, projector: RetrievalProjector | None, owner: str
) -> None:
    """Give a server's index, which stores no projection, that of the model it was built for.

    Raises
    ------
    InputError
        If the model's projection is another one.
    """
    wanted = index.space.projector
    if not wanted or index.projector is not None:
        return
    found = "" if projector is None else projector_hash(projector)
    if found != wanted:
        raise InputError(
            f"{owner} has {f'the search projection {found}' if found else 'no search projection'}, "
            f"for an index in the space of {index.space.describe()}",
            expected=f"the projection {wanted}, with which the index was built",
            remedy="search the index's folder, which keeps its projection, or upload it again",
        )
    index.projector = projector


def _parts(name: str) -> tuple[str, str]:
    location, _, collection = name.removeprefix(QDRANT).rpartition("/")
    if not name.startswith(QDRANT) or not collection or location.endswith((":", "/")) or (
        not location
    ):  # fmt: skip
        raise UsageError(
            f"{name!r} for a collection of a Qdrant server",
            expected=f"{QDRANT}LOCATION/COLLECTION, such as {QDRANT}http://localhost:6333/pictures",
            remedy="name the address and the collection",
        )
    return location, collection
