"""Re-ranking, against the definitions written out one number at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.rerank import (
    csls,
    diversify,
    near_duplicates,
    probable,
    similarity,
)

Array = np.ndarray[Any, Any]


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def made() -> tuple[Array, Array, Array]:
    """Queries (3, 6), candidates (3, 5, 6) and a background (20, 6)."""
    rng = np.random.default_rng(2)
    return rng.normal(size=(3, 6)), rng.normal(size=(3, 5, 6)), rng.normal(size=(20, 6))


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_the_probable_ones_are_the_best(metric: str) -> None:
    rng = np.random.default_rng(2)
    queries = rng.standard_normal((4, 9)).astype(np.float32)
    vectors = rng.standard_normal((4, 50, 9)).astype(np.float32)
    vectors[:, 7] = vectors[:, 3]  # of equal ones, the first in the index
    rows = np.stack([rng.permutation(50) for _ in range(4)])
    rows[2, 11] = -1
    places = probable(queries, vectors, rows, metric, 20)
    scores = similarity(queries, vectors, metric)
    scores[2, 11] = -np.inf
    for n in range(4):
        expected = np.lexsort((rows[n], -scores[n].round(5)))[:20]
        np.testing.assert_array_equal(places[n], expected)
    alone = probable(queries[1:2], vectors[1:2], rows[1:2], metric, 20)
    np.testing.assert_array_equal(alone[0], places[1])


def test_csls_is_its_definition(made: tuple[Array, Array, Array]) -> None:
    queries, vectors, background = made
    found = csls(queries, vectors, background, k=4)
    for n, query in enumerate(queries):
        own = np.sort([cosine(query, one) for one in background])[-4:].mean()
        for m, vector in enumerate(vectors[n]):
            hub = np.sort([cosine(vector, one) for one in background])[-4:].mean()
            assert found[n, m] == pytest.approx(2 * cosine(query, vector) - hub - own)


def test_csls_holds_a_hub_back() -> None:
    """The hub is nearer to the query than the right picture, as it is to every query."""
    rng = np.random.default_rng(0)
    hub = np.r_[1.0, np.zeros(31)]
    background = 2 * hub + rng.normal(size=(200, 32)) / 3
    query = 2 * hub + np.r_[0, 1.2, np.zeros(30)]
    right = np.r_[0.3, 1.0, np.zeros(30)]
    vectors = np.stack([hub, right])[None]
    assert similarity(query[None], vectors, "cosine").argmax() == 0
    assert csls(query[None], vectors, background).argmax() == 1


def test_scores_do_not_depend_on_other_queries(made: tuple[Array, Array, Array]) -> None:
    queries, vectors, background = made
    for metric in ("cosine", "dot", "euclidean"):
        together = similarity(queries, vectors, metric)
        turned = similarity(queries[::-1], vectors[::-1, ::-1], metric)
        np.testing.assert_array_equal(turned[::-1, ::-1], together)
        for n in range(3):
            alone = similarity(queries[n : n + 1], vectors[n : n + 1], metric)
            np.testing.assert_array_equal(alone[0], together[n])
    np.testing.assert_allclose(
        csls(queries[1:2], vectors[1:2], background)[0], csls(queries, vectors, background)[1]
    )


def test_a_vector_of_zeros_is_as_similar_to_all() -> None:
    assert (similarity(np.zeros((1, 3)), np.ones((1, 2, 3)), "cosine") == 0).all()


def test_a_background_of_another_size_is_refused(made: tuple[Array, Array, Array]) -> None:
    with pytest.raises(InputError, match=r"background of shape \(20, 5\)"):
        csls(made[0], made[1], made[2][:, :5])


def test_diversity_chooses_by_marginal_relevance() -> None:
    vectors = np.array([[1.0, 0], [1, 0.01], [0, 1]])
    scores = np.array([0.9, 0.89, 0.5])
    assert diversify(scores, vectors, 3, weight=0).tolist() == [0, 1, 2]
    # .5 * .89 - .5 * 1.0 = -.055 is less than .5 * .5 - .5 * 0 = .25
    assert diversify(scores, vectors, 2, weight=0.5).tolist() == [0, 2]
    assert diversify(scores, vectors, 9, weight=1).tolist() == [0, 2, 1]
    with pytest.raises(UsageError, match="`diversity` is 2"):
        diversify(scores, vectors, 2, weight=2)


def test_near_duplicates_are_linked_through_one_another() -> None:
    angles = np.deg2rad([0, 90, 5, 10, 95])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert near_duplicates(vectors, np.cos(np.deg2rad(6))).tolist() == [0, 1, 0, 0, 1]
    assert near_duplicates(vectors, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert near_duplicates(np.ones((3, 2)), 1.0).tolist() == [0, 0, 0]
    with pytest.raises(UsageError, match="`duplicates` is 0"):
        near_duplicates(vectors, 0)


def test_an_index_shows_one_of_equal_pictures(
    tmp_path: Path, index_of: Any, write_ready: Any
) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(10, 8)).astype(np.float32)
    ready = write_ready(tmp_path / "e", np.concatenate([values, values]))
    index: Index = index_of(tmp_path / "i", ready, target="given:x")
    assert sorted(index.search(values[:1], 2).rows[0].tolist()) == [0, 10]
    alone = index.search(values, 5, duplicates=0.9999)
    assert (alone.rows < 10).all()
    assert (alone.rows[:, 0] == np.arange(10)).all()
    spread = index.search(values[:1], 2, diversity=0.9).rows[0]
    assert spread[0] == 0
    assert spread[1] != 10
    background = rng.normal(size=(50, 8))
    rescored = index.search(values[:2], 3, background=background)
    stored = index.vectors(rescored.rows.ravel()).reshape(2, 3, 8)
    expected = csls(values[:2], stored, background.astype(np.float32))
    np.testing.assert_allclose(rescored.scores, expected, rtol=1e-5)
