"""Qdrant in local mode gives the answers of faiss on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.qdrant_index import QdrantIndex

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def queries() -> Array:
    return np.random.default_rng(4).standard_normal((70, 108)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_the_answers_are_those_of_faiss(
    tmp_path: Path, picture_folder: Path, queries: Array, index_of: Any, metric: str
) -> None:
    index: Index = index_of(tmp_path / "i", picture_folder, metric=metric)
    remote = QdrantIndex.upload(index, ":memory:", "pictures")
    assert len(remote) == len(index)
    assert remote.space == index.space
    ours, theirs = index.search(queries, 7), remote.search(queries, 7)
    np.testing.assert_array_equal(theirs.rows, ours.rows)
    np.testing.assert_allclose(theirs.scores, ours.scores, rtol=1e-3, atol=1e-4)
    same = ["query", "rank", "id", "path", "caption"]
    assert theirs.table()[same].equals(ours.table()[same])
    assert theirs.ids == ours.ids


def test_a_collection_is_opened_by_name(tmp_path: Path, pixel_index: Index, queries: Array) -> None:
    first = QdrantIndex.upload(pixel_index, str(tmp_path / "store"), "pictures")
    with pytest.raises(UsageError, match="exists already"):
        QdrantIndex.upload(pixel_index, first.client, "pictures")
    first.client.close()
    again = QdrantIndex.open(str(tmp_path / "store"), "pictures")
    np.testing.assert_array_equal(
        again.search(queries[:5], 3).rows, pixel_index.search(queries[:5], 3).rows
    )
    assert again.search(queries[:2], 100).rows.shape == (2, 40)
    again.client.close()


def test_queries_of_another_space_are_refused(pixel_index: Index, queries: Array) -> None:
    remote = QdrantIndex.upload(pixel_index, ":memory:", "pictures")
    with pytest.raises(InputError, match=r"queries of 9 numbers"):
        remote.search(queries[:, :9])
    with pytest.raises(InputError, match=r"space of abc.*pixels"):
        remote.search(queries, target="abc")
    with pytest.raises(UsageError, match="`k` is 0"):
        remote.search(queries, 0)


def test_what_is_not_there_is_one_message(pixel_index: Index) -> None:
    with pytest.raises(AssetError, match="no collection 'nothing'"):
        QdrantIndex.open(":memory:", "nothing")
    client = QdrantClient(":memory:")
    client.create_collection(
        "other", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)
    )
    with pytest.raises(InputError, match="does not say which space"):
        QdrantIndex(client, "other")


def test_a_server_that_is_not_there_is_one_message(pixel_index: Index) -> None:
    with pytest.raises(AssetError, match="did not answer"):
        QdrantIndex.open("http://127.0.0.1:9", "pictures")
