"""Which of many was it? Retrieval among a pool, in both directions, ties shared fairly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import numpy as np

from phosphene.errors import InputError, UsageError

__all__ = [
    "RetrievalResult",
    "brain_to_image_retrieval",
    "csls_similarity",
    "image_to_brain_retrieval",
]

Array = np.ndarray[Any, Any]
TIE = 1e-12  # rounding differs by a few units in the last place between equal rows of a product
ROWS, COLUMNS = 512, 16384  # compared at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Where the right candidate came among its rivals, for each query.

    Every score is an expectation over the order of tied candidates: of ``t`` that are tied for
    the first place each takes it with 1/t. A constant prediction therefore scores chance exactly.

    Attributes
    ----------
    direction : {"brain-to-image", "image-to-brain"}
        What queries what. Brain to image takes one prediction and searches the pictures.
    better, tied, rivals : ndarray of shape (n,)
        Wrong candidates that are more similar to the query than the right one, those that are
        as similar, and all of them.
    """

    direction: Literal["brain-to-image", "image-to-brain"]
    better: Array
    tied: Array
    rivals: Array

    @property
    def ranks(self) -> Array:
        """Expected rank of the right candidate (n,): 1 is first, chance ``(pool + 1) / 2``."""
        return np.asarray(1 + self.better + self.tied / 2)

    @property
    def mean_rank(self) -> float:
        """Mean of :attr:`ranks`."""
        return float(self.ranks.mean())

    def top_k(self, k: int = 1) -> Array:
        """Return for each query the probability (n,) that the right one is among the first k."""
        if k < 1:
            raise UsageError(f"`k` is {k}", expected="1 or more")
        return np.asarray(np.clip((k - self.better) / (self.tied + 1), 0, 1))

    def chance(self, k: int = 1) -> float:
        """Return what guessing scores in :meth:`top_k`: k over the number of candidates."""
        return float(np.minimum(1, k / (self.rivals + 1)).mean())

    def top_1_among(self, pool: int) -> Array:
        """Return the expected top-1 score of each query in a random smaller pool; chance 1/pool.

        The pool holds the right candidate and ``pool - 1`` rivals, all sets of them equally
        likely. With w rivals worse than the right one, t tied with it and r in all, the sum over
        how many ties are drawn of (hypergeometric probability) / (ties + 1) is
        ``(C(w + t + 1, pool) - C(w, pool)) / ((t + 1) C(r, pool - 1))`` by Vandermonde's
        identity; without ties, ``C(w, pool - 1) / C(r, pool - 1)``.

        Returns
        -------
        ndarray of shape (n,)
            NaN where a query has too few rivals.

        Examples
        --------
        >>> import numpy as np
        >>> counts = np.array([0]), np.array([2]), np.array([3])  # two of three rivals are tied
        >>> float(RetrievalResult("brain-to-image", *counts).top_1_among(2).round(3)[0])
        0.667
        """
        if pool < 1 or pool > self.rivals.max() + 1:
            raise UsageError(
                f"`pool` is {pool}", expected=f"1 to {self.rivals.max() + 1}, which there are"
            )
        counts = np.stack([self.better, self.tied, self.rivals], axis=1)
        distinct, place = np.unique(counts, axis=0, return_inverse=True)
        return np.array([_first_among(pool, *map(int, row)) for row in distinct])[place]


def brain_to_image_retrieval(
    predicted: Array,
    truth: Array,
    *,
    groups: Array | None = None,
    pictures: Sequence[str] | Array | None = None,
    csls_neighbours: int = 0,
) -> RetrievalResult:
    """Search the true embeddings with each predicted one, by cosine similarity.

    Scotti et al. 2023 (MindEye) call this brain retrieval; their code computes it under the name
    of image retrieval.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, d) or (n, n_tokens, d)
        Trailing axes are flattened. A row of zeros is as similar to all.
    groups : ndarray of shape (n,), optional
        Search only within the same group (category).
    pictures : sequence of length n, optional
        Which picture each item is of, where several are of one: each picture is then one
        candidate. Without, n items are n candidates.
    csls_neighbours : int
        Rescore by :func:`csls_similarity` with so many neighbours, which is transductive: a
        score then depends on the other test items. 0 leaves the cosines.
    """
    similarity = _cosine_similarity(predicted, truth)
    allowed = ~np.eye(len(similarity), dtype=bool)
    if groups is not None:
        labels = np.asarray(groups)
        allowed &= labels[:, None] == labels[None, :]
    if pictures is not None:
        _, first, codes = np.unique(np.asarray(pictures), return_index=True, return_inverse=True)
        allowed &= codes[:, None] != codes[None, :]
        allowed &= np.isin(np.arange(len(codes)), first)[None, :]
    if csls_neighbours:
        similarity = csls_similarity(similarity, csls_neighbours)
    return _rank("brain-to-image", similarity, allowed)


def image_to_brain_retrieval(
    predicted: Array, truth: Array, *, groups: Array | None = None, csls_neighbours: int = 0
) -> RetrievalResult:
    """Search the predicted embeddings with each true one, by cosine similarity.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, d) or (n, n_tokens, d)
        One row per picture: average the predictions of its trials first.
    groups, csls_neighbours
        As for :func:`brain_to_image_retrieval`.
    """
    similarity = _cosine_similarity(truth, predicted)
    allowed = ~np.eye(len(similarity), dtype=bool)
    if groups is not None:
        labels = np.asarray(groups)
        allowed &= labels[:, None] == labels[None, :]
    if csls_neighbours:
        similarity = csls_similarity(similarity, csls_neighbours)
    return _rank("image-to-brain", similarity, allowed)


def csls_similarity(similarity: Array, neighbours: int = 10) -> Array:
    """Rescore cosines so that candidates that are near to every query are found less often.

    ``2 s(q, c) - r(q) - r(c)``, r the mean similarity to the ``neighbours`` nearest of the other
    side: cross-domain similarity local scaling of Conneau et al. 2018. It uses all test items at
    once, so its scores are transductive and stand in no column with others.

    Parameters
    ----------
    similarity : ndarray of shape (n_queries, n_candidates)
    neighbours : int
        At most the number of queries and of candidates.
    """
    if not 1 <= neighbours <= min(similarity.shape):
        raise UsageError(
            f"`neighbours` is {neighbours}", expected=f"1 to {min(similarity.shape)}, the items"
        )
    queries, candidates = (
        -np.partition(-similarity, neighbours - 1, axis=axis).take(range(neighbours), axis=axis)
        for axis in (1, 0)
    )
    return np.asarray(
        2 * similarity
        - queries.mean(axis=1, keepdims=True)
        - candidates.mean(axis=0, keepdims=True)
    )


def _rank(
    direction: Literal["brain-to-image", "image-to-brain"], similarity: Array, allowed: Array
) -> RetrievalResult:
    """Count rivals against the diagonal; rows are queries, columns candidates."""
    own = np.diag(similarity)[:, None]
    better, tied = [], []
    for start in range(0, len(similarity), ROWS):
        rows = slice(start, start + ROWS)
        excess = similarity[rows] - own[rows]
        better.append(((excess > TIE) & allowed[rows]).sum(axis=1))
        tied.append(((np.abs(excess) <= TIE) & allowed[rows]).sum(axis=1))
    return RetrievalResult(
        direction, np.concatenate(better), np.concatenate(tied), allowed.sum(axis=1)
    )


def _first_among(pool: int, better: int, tied: int, rivals: int) -> float:
    """Return the expected top-1 score in a random pool, exactly (whole numbers until the end)."""
    if pool > rivals + 1:
        return float("nan")
    worse = rivals - better - tied
    wins = comb(worse + tied + 1, pool) - comb(worse, pool)
    return wins / ((tied + 1) * comb(rivals, pool - 1))


def _cosine_similarity(queries: Array, candidates: Array) -> Array:
    """Return cosines (n, n) in float64; 0 beside a row of zeros."""
    if queries.shape != candidates.shape or queries.ndim < 2 or len(queries) < 2:
        raise InputError(
            f"embeddings of shape {queries.shape} beside others of {candidates.shape}",
            expected="two arrays (n, d) or (n, n_tokens, d) of equal shape with at least two items",
        )
    n = len(queries)
    product, squares = np.zeros((n, n)), np.zeros((2, n))
    flat = [array.reshape(n, -1) for array in (queries, candidates)]
    for start in range(0, flat[0].shape[1], COLUMNS):
        a, b = (np.asarray(x[:, start : start + COLUMNS], dtype=np.float64) for x in flat)
        product += a @ b.T
        squares += np.stack([np.einsum("nd,nd->n", x, x) for x in (a, b)])
    if not np.isfinite(squares).all():
        raise InputError(
            "embeddings that are not finite",
            expected="numbers in every place",
            remedy="look for NaN or infinity in what was predicted",
        )
    norms = np.sqrt(squares)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > TIE)
    return np.asarray(product * scale[0][:, None] * scale[1][None, :])
