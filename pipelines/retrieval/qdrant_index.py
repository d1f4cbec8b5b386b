"""Beyond one machine: the same searches answered by a Qdrant server.

Vectors are sharded and replicated by the engine; the space is kept with the collection, so that a
query of another one is refused as by a local index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import AssetError, InputError, PhospheneError, UsageError
from phosphene.names import require
from phosphene.pipelines.retrieval.index import Index, check_queries
from phosphene.pipelines.retrieval.key_encoder import keys_of
from phosphene.pipelines.retrieval.search_result import SearchResult
from phosphene.pipelines.retrieval.sources import METADATA_COLUMNS
from phosphene.progress import progress
from phosphene.schemas import IndexFile, SearchSpace

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.schemas import TargetSpec

__all__ = ["QdrantIndex"]

Array = np.ndarray[Any, Any]
BATCH = 256  # points per request
QUERIES = 64  # per request
DESCRIPTION = "phosphene"  # where the collection keeps index.json


class QdrantIndex:
    """A collection of a Qdrant server with the interface of :class:`Index`.

    Parameters
    ----------
    client : qdrant_client.QdrantClient
    collection : str
    projector : RetrievalProjector, optional
        Of the index's space; without it, queries have to be search keys.

    Examples
    --------
    ::

        index = QdrantIndex.upload(Index.open("INDEX"), "http://localhost:6333", "pictures")
        QdrantIndex.open("http://localhost:6333", "pictures").search(keys, k=10)
    """

    def __init__(self, client: Any, collection: str, projector: Any = None) -> None:
        self.client, self.collection, self.projector = client, collection, projector
        with _asking(collection):
            known = client.collection_exists(collection)
        if not known:
            raise AssetError(
                f"there is no collection {collection!r} on this Qdrant server",
                expected="one that `QdrantIndex.upload` wrote",
                remedy="check its name, or upload an index",
            )
        with _asking(collection):
            stored = (client.get_collection(collection).config.metadata or {}).get(DESCRIPTION)
        if stored is None:
            raise InputError(
                f"the collection {collection!r} does not say which space its vectors are of",
                expected="a collection that `QdrantIndex.upload` wrote",
                remedy="upload an index under another name",
            )
        self.file = IndexFile.from_json(stored, source=f"the collection {collection!r}")

    @classmethod
    def open(cls, location: str, collection: str, *, projector: Any = None) -> QdrantIndex:
        """Open a collection of a server.

        Parameters
        ----------
        location : str
            Address such as ``http://localhost:6333``, ``:memory:``, or a folder for local mode.
        collection : str
        projector : RetrievalProjector, optional
            As :attr:`Index.projector` of the index that was uploaded.
        """
        return cls(_client(location), collection, projector)

    @classmethod
    def upload(
        cls, index: Index, location: str | Any, collection: str, *, shards: int | None = None
    ) -> QdrantIndex:
        """Copy an index's vectors and metadata into a new collection.

        Parameters
        ----------
        index : Index
        location : str or QdrantClient
        collection : str
            Must not exist.
        shards : int, optional
            Over which the server spreads the vectors.
        """
        models = require("qdrant_client.models", "qdrant")
        client = _client(location) if isinstance(location, str) else location
        distance = {
            "cosine": models.Distance.COSINE,
            "dot": models.Distance.DOT,
            "euclidean": models.Distance.EUCLID,
        }[index.file.metric]
        with _asking(collection):
            if client.collection_exists(collection):
                raise UsageError(
                    f"the collection {collection!r} exists already",
                    expected="a new name, so that nothing is overwritten",
                    remedy="choose another name, or delete that collection on the server",
                )
            client.create_collection(
                collection,
                vectors_config=models.VectorParams(
                    size=index.space.dimension,
                    distance=distance,
                    datatype=models.Datatype.FLOAT16,
                    on_disk=True,
                ),
                shard_number=shards,
                metadata={DESCRIPTION: index.file.to_json()},
            )
            for points in progress(
                _batches(index, models), label="uploading", total=-(-len(index) // BATCH)
            ):
                client.upsert(collection, points=points, wait=True)
        return cls(client, collection, index.projector)

    def __len__(self) -> int:
        with _asking(self.collection):
            return int(self.client.count(self.collection, exact=True).count)

    @property
    def space(self) -> SearchSpace:
        """Where its vectors are compared."""
        return self.file.space

    def check_target(self, target: TargetSpec | str, name: str = "") -> None:
        """Refuse queries of another embedding space, as :meth:`Index.check_target`."""
        found = target if isinstance(target, str) else target.hash
        if found != self.space.target.hash:
            raise InputError(
                f"a query in the space of {name or found}, for the collection "
                f"{self.collection} in that of {self.space.describe()}",
                expected="query and index of the same target",
                remedy=f"query with {self.file.target_name}",
            )

    def keys(self, embeddings: Any) -> Array:
        """Return search keys (n, d) of target embeddings (n, ...); keys are passed through."""
        width = int(np.prod(tuple(embeddings.shape)[1:]))
        size = int(np.prod(self.space.target.shape))
        if self.projector is not None and width == size:
            return keys_of(embeddings, self.projector)
        return check_queries(keys_of(embeddings, None), self.space)

    def search(
        self,
        embeddings: Any,
        k: int = 10,
        *,
        target: TargetSpec | str | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Find the k nearest pictures of each query, as :meth:`Index.search`.

        Parameters
        ----------
        embeddings : ndarray or Tensor of shape (n, ...) or (n, d)
        k : int
        target : TargetSpec or str, optional
        exact : bool
            Compare with every vector; else the server walks its graph.
        """
        models = require("qdrant_client.models", "qdrant")
        if target is not None:
            self.check_target(target)
        if k < 1:
            raise UsageError(f"`k` is {k}", expected="1 or more")
        queries = self.keys(embeddings)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        payloads: dict[int, dict[str, str]] = {}
        for start in range(0, len(queries), QUERIES):
            requests = [
                models.QueryRequest(
                    query=query.tolist(),
                    limit=k,
                    with_payload=True,
                    params=models.SearchParams(exact=exact),
                )
                for query in queries[start : start + QUERIES]
            ]
            with _asking(self.collection):
                answers = self.client.query_batch_points(self.collection, requests=requests)
            for place, answer in enumerate(answers, start):
                points = sorted(answer.points, key=lambda point: (-self._score(point), point.id))
                rows[place, : len(points)] = [point.id for point in points]
                scores[place, : len(points)] = [self._score(point) for point in points]
                payloads |= {int(point.id): point.payload for point in points}
        found = int((rows >= 0).sum(axis=1).max(initial=0))
        return SearchResult(rows[:, :found], scores[:, :found], lambda r: _table(payloads, r))

    def _score(self, point: Any) -> float:
        """Return a score that is larger for nearer vectors; the server gives distances."""
        return -float(point.score) if self.file.metric == "euclidean" else float(point.score)


def _table(payloads: dict[int, dict[str, str]], rows: Array) -> pd.DataFrame:
    import pandas as pd

    found = [payloads[int(row)] for row in rows]
    return pd.DataFrame(found, columns=list(METADATA_COLUMNS))


def _batches(index: Index, models: Any) -> Iterator[list[Any]]:
    for start in range(0, len(index), BATCH):
        rows = np.arange(start, min(start + BATCH, len(index)))
        items: Iterable[dict[Any, Any]] = index.metadata.between(start, start + len(rows)).to_dict(
            "records"
        )
        yield [
            models.PointStruct(id=int(row), vector=vector.tolist(), payload=item)
            for row, vector, item in zip(rows, index.vectors(rows), items, strict=True)
        ]


def _client(location: str) -> Any:
    client = require("qdrant_client", "qdrant").QdrantClient
    if location == ":memory:" or location.startswith(("http://", "https://")):
        return client(location)
    return client(path=location)


@contextmanager
def _asking(collection: str) -> Iterator[None]:
    """Turn whatever the client raises into one message."""
    try:
        yield
    except PhospheneError:
        raise
    except Exception as error:  # the client raises errors of HTTP, of the server and of its own
        raise AssetError(
            f"the Qdrant server did not answer for {collection!r} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            expected="a server that can be reached and has room",
            remedy="check its address and its log",
        ) from error
