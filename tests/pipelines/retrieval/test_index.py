"""Searching: against products computed by hand, and everything an index refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phosphene
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval import faiss_index
from phosphene.pipelines.retrieval.index import Index
from phosphene.schemas import TargetSpec

Array = np.ndarray[Any, Any]
MakeIndex = Callable[..., Index]
WriteReady = Callable[..., Path]
SIZE = 108


def by_hand(queries: Array, stored: Array, metric: str) -> Array:
    a, b = queries.astype(np.float64), stored.astype(np.float64)
    if metric == "euclidean":
        return -np.linalg.norm(a[:, None] - b[None], axis=2)
    if metric == "cosine":
        a = a / np.linalg.norm(a, axis=1, keepdims=True)
        b = b / np.linalg.norm(b, axis=1, keepdims=True)
    return a @ b.T


def recall(rows: Array, truth: Array) -> float:
    pairs = zip(rows, truth, strict=True)
    return float(np.mean([len(set(one) & set(two)) / len(two) for one, two in pairs]))


@pytest.fixture(scope="module")
def queries() -> Array:
    return np.random.default_rng(3).standard_normal((9, SIZE)).astype(np.float32)


def test_the_index_is_offered_by_the_package() -> None:
    assert phosphene.Index is Index


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_flat_search_is_the_product_with_sort(
    tmp_path: Path, picture_folder: Path, noise_pictures: Array, queries: Array,
    index_of: MakeIndex, metric: str,
) -> None:  # fmt: skip
    index = index_of(tmp_path / "index", picture_folder, metric=metric)
    flat = noise_pictures.transpose(0, 3, 1, 2).reshape(len(noise_pictures), -1) / 255
    scores = by_hand(queries, flat, metric)
    found = index.search(queries, 5)
    expected = np.sort(scores, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(found.scores, expected, atol=1e-2)  # half precision
    np.testing.assert_array_equal(found.rows[:, 0], scores.argmax(axis=1))
    exact = by_hand(queries, index.vectors(np.arange(len(index))), metric)
    np.testing.assert_allclose(
        found.scores, np.sort(exact, axis=1)[:, ::-1][:, :5], rtol=1e-5, atol=1e-6
    )


def test_a_batch_equals_its_queries_one_at_a_time(pixel_index: Index, queries: Array) -> None:
    together = pixel_index.search(queries, 6)
    for row in range(len(queries)):
        alone = pixel_index.search(queries[row : row + 1], 6)
        np.testing.assert_array_equal(alone.rows[0], together.rows[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])
    turned = pixel_index.search(queries[::-1], 6)
    np.testing.assert_array_equal(turned.rows[::-1], together.rows)
    np.testing.assert_array_equal(turned.scores[::-1], together.scores)


def test_equal_pictures_come_in_the_order_of_the_index(
    tmp_path: Path, index_of: MakeIndex, write_ready: WriteReady
) -> None:
    values = np.ones((30, 4), dtype=np.float32)
    index = index_of(tmp_path / "i", write_ready(tmp_path / "e", values), target="given:x")
    found = index.search(np.array([[1.0, 2, 3, 4]]), 3)
    assert found.rows.tolist() == [[0, 1, 2]]
    assert found.ids == [["000000000", "000000001", "000000002"]]


def test_more_results_than_pictures_are_all_pictures(pixel_index: Index, queries: Array) -> None:
    found = pixel_index.search(queries, 1000)
    assert found.rows.shape == (len(queries), len(pixel_index))
    assert (np.sort(found.rows, axis=1) == np.arange(len(pixel_index))).all()


def test_the_table_says_what_was_found(pixel_index: Index, noise_pictures: Array) -> None:
    flat = noise_pictures.transpose(0, 3, 1, 2).reshape(len(noise_pictures), -1) / 255
    table = pixel_index.search(torch.from_numpy(flat[[3, 5]]), 2).table(["first", "second"])
    assert table.columns.tolist() == ["query", "rank", "score", "id", "path", "caption"]
    assert table["query"].tolist() == ["first", "first", "second", "second"]
    assert table["rank"].tolist() == [1, 2, 1, 2]
    assert table["id"].tolist()[::2] == ["p003", "p005"]
    assert table["caption"].tolist()[::2] == ["a red cube", ""]
    assert Path(table["path"].iloc[0]).is_file()


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_approximate_search_finds_nearly_all(
    tmp_path: Path,
    spread_vectors: Array,
    index_of: MakeIndex,
    write_ready: WriteReady,
    kind: str,
    metric: str,
) -> None:
    ready = write_ready(tmp_path / "e", spread_vectors, per_file=500)
    index = index_of(tmp_path / "i", ready, target="given:x", kind=kind, metric=metric)
    queries = spread_vectors[::40] + 0.2
    exact = by_hand(queries, index.vectors(np.arange(1200)), metric)
    truth = np.argsort(-exact, axis=1)[:, :10]
    found = index.search(queries, 10)
    assert recall(found.rows, truth) > 0.95
    best = np.take_along_axis(exact, found.rows, axis=1)
    np.testing.assert_allclose(found.scores, best, rtol=1e-5, atol=1e-5)  # scores are exact
    assert index.verify()["found"].iloc[-1] > "0.98"
    again = Index.open(tmp_path / "i").search(queries, 10)
    np.testing.assert_array_equal(again.rows, found.rows)
    alone = np.concatenate([index.search(query[None], 10).rows for query in queries])
    np.testing.assert_array_equal(alone, found.rows)


def test_a_graph_of_lists_finds_what_a_product_finds(
    tmp_path: Path,
    spread_vectors: Array,
    index_of: MakeIndex,
    write_ready: WriteReady,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import faiss

    ready = write_ready(tmp_path / "e", spread_vectors, per_file=1200)
    plain = index_of(tmp_path / "i", ready, target="given:x", kind="ivfpq")
    monkeypatch.setattr(faiss_index, "GRAPH_OF_LISTS", 4)
    graph = index_of(tmp_path / "j", ready, target="given:x", kind="ivfpq")
    lists = faiss.extract_index_ivf(graph.structure.native).quantizer
    assert isinstance(faiss.downcast_index(lists), faiss.IndexHNSW)
    queries = spread_vectors[::40] + 0.2
    found = recall(graph.search(queries, 10).rows, plain.search(queries, 10).rows)
    assert found > 0.97


def test_more_effort_finds_more(
    tmp_path: Path, index_of: MakeIndex, write_ready: WriteReady
) -> None:
    noise = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    ready = write_ready(tmp_path / "e", noise, per_file=1500)
    index = index_of(tmp_path / "i", ready, target="given:x", kind="ivfpq")
    queries = np.random.default_rng(1).standard_normal((30, 16)).astype(np.float32)
    truth = np.argsort(-by_hand(queries, noise, "cosine"), axis=1)[:, :10]
    one, all_lists = (recall(index.search(queries, 10, effort=e).rows, truth) for e in (1, 64))
    assert one < 0.5 < 0.9 < all_lists


def test_queries_of_another_size_are_refused(pixel_index: Index) -> None:
    with pytest.raises(InputError, match=r"queries of 5 numbers.*pixels"):
        pixel_index.search(np.ones((2, 5)))


def test_queries_that_are_not_finite_are_refused(pixel_index: Index, queries: Array) -> None:
    queries = queries.copy()
    queries[1, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        pixel_index.search(queries)


def test_a_query_of_another_space_is_refused_with_both_names(
    pixel_index: Index, queries: Array
) -> None:
    other = TargetSpec(name="dino", layer="cls", output="pooled", shape=(SIZE,), preprocessing={})
    with pytest.raises(InputError, match=rf"dino {other.hash}.*pixels"):
        pixel_index.search(queries, target=other)
    pixel_index.search(queries, target=pixel_index.space.target)


def test_fewer_than_one_result_is_refused(pixel_index: Index, queries: Array) -> None:
    with pytest.raises(UsageError, match="`k` is 0"):
        pixel_index.search(queries, 0)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an index"):
        Index.open(tmp_path)


@pytest.mark.parametrize("name", ["vectors.faiss", "metadata.parquet"])
@pytest.mark.parametrize("damage", ["head", "cut", "gone"])
def test_damaged_files_are_refused(
    tmp_path: Path, pixel_index: Index, name: str, damage: str
) -> None:
    root = Path(shutil.copytree(pixel_index.folder, tmp_path / "copy"))
    content = bytearray((root / name).read_bytes())
    content[10] ^= 255
    if damage == "gone":
        (root / name).unlink()
    else:
        (root / name).write_bytes(content if damage == "head" else content[:-7])
    with pytest.raises(InputError, match=rf"{name}.*(changed or damaged|missing)"):
        Index.open(root)


def test_verify_sees_a_byte_in_the_middle(
    tmp_path: Path, index_of: MakeIndex, write_ready: WriteReady
) -> None:
    values = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
    ready = write_ready(tmp_path / "e", values, per_file=3000)
    index = index_of(tmp_path / "i", ready, target="given:x")
    assert index.verify()["found"].tolist() == ["2", "3000", "unique", "1.000"]
    path = tmp_path / "i" / "vectors.faiss"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"vectors\.faiss was changed"):
        Index.open(tmp_path / "i").verify()
