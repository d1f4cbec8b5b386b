"""Candidates in a better order: hubs held back, variety, near duplicates together.

Everything works on the few candidates of a search, with their exact vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError

__all__ = ["csls", "diversify", "near_duplicates", "probable", "similarity"]

Array = np.ndarray[Any, Any]
NEIGHBOURS = 10


def similarity(queries: Array, vectors: Array, metric: str) -> Array:
    """Return scores (n, m) of queries (n, d) and their candidates (n, m, d); larger is better.

    Each is computed by itself in float64, so that it does not depend on other queries.
    """
    a, b = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(-np.sqrt(((b - a[:, None]) ** 2).sum(axis=2)))
    # A sum along the last axis adds each row's numbers in one order, whatever its neighbours are;
    # matrix products and einsum do not.
    product = (b * a[:, None]).sum(axis=2)
    if metric == "dot":
        return np.asarray(product)
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=2)
    return np.asarray(np.divide(product, norms, out=np.zeros_like(product), where=norms > 0))


def probable(queries: Array, vectors: Array, rows: Array, metric: str, count: int) -> Array:
    """Return the places (n, count) of the best candidates by products in float32, best first.

    Sums in float64 of hundreds of candidates take longer than finding these. The order of results
    is decided by :func:`similarity`; what is left out here has to be clearly worse.

    Parameters
    ----------
    queries : ndarray of shape (n, d)
    vectors : ndarray of shape (n, m, d)
    rows : ndarray of shape (n, m)
        Of the index, negative where there is no candidate; of equal ones the first comes first.
    metric : {"cosine", "dot", "euclidean"}
    count : int
        At most m.
    """
    places = np.empty((len(queries), count), dtype=np.int64)
    for number, (query, mine) in enumerate(zip(queries, vectors, strict=True)):
        score = mine @ query  # one query at a time: its rounding is its own
        if metric != "dot":
            squares = np.einsum("md,md->m", mine, mine)
            if metric == "cosine":
                score /= np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))
            else:
                score = 2 * score - squares
        score[rows[number] < 0] = -np.inf
        places[number] = np.lexsort((rows[number], -score))[:count]
    return places


def csls(queries: Array, vectors: Array, background: Array, *, k: int = NEIGHBOURS) -> Array:
    """Return cross-domain similarity local scaling of queries and their candidates.

    ``2 cos(q, x) - r(x) - r(q)``: ``r(x)`` is the mean cosine of a candidate with the k nearest of
    a background sample, ``r(q)`` that of the query with the k nearest of the same sample (a
    constant for the order). Pictures that are near to everything, hubs, are held back. Conneau et
    al. 2018, *Word translation without parallel data*, take the queries themselves as background
    for ``r(x)``, which makes one query's answer depend on the others; a sample that was set aside
    does not.

    Parameters
    ----------
    queries : ndarray of shape (n, d)
    vectors : ndarray of shape (n, m, d)
    background : ndarray of shape (b, d)
        Keys that are distributed as queries are, such as predictions for other pictures.
    k : int
        Neighbours; at most b.

    Returns
    -------
    ndarray of shape (n, m)
    """
    if background.ndim != 2 or background.shape[1] != queries.shape[1] or not len(background):
        raise InputError(
            f"a background of shape {background.shape}",
            expected=f"keys (b, {queries.shape[1]}), at least one",
        )
    count = min(k, len(background))
    cosine = similarity(queries, vectors, "cosine")
    reference = _unit(background)
    hubness = _nearest_mean(_unit(vectors.reshape(-1, vectors.shape[-1])), reference, count)
    own = _nearest_mean(_unit(queries), reference, count)
    return np.asarray(2 * cosine - hubness.reshape(cosine.shape) - own[:, None])


def diversify(scores: Array, vectors: Array, k: int, *, weight: float) -> Array:
    """Choose k candidates of one query that are near to it and unlike one another.

    Maximal marginal relevance (Carbonell and Goldstein 1998): each next one has the largest
    ``(1 - weight) * score - weight * (largest cosine with those chosen)``.

    Parameters
    ----------
    scores : ndarray of shape (m,)
    vectors : ndarray of shape (m, d)
    k : int
    weight : float
        0 keeps the order of scores, 1 looks at variety alone.

    Returns
    -------
    ndarray of shape (min(k, m),)
        Positions, in the order of choice.
    """
    if not 0 <= weight <= 1:
        raise UsageError(f"`diversity` is {weight}", expected="from 0 to 1")
    unit = _unit(vectors)
    chosen: list[int] = []
    nearest = np.full(len(scores), -np.inf)
    for _ in range(min(k, len(scores))):
        penalty = np.where(np.isfinite(nearest), nearest, 0.0)
        value = (1 - weight) * scores - weight * penalty
        value[chosen] = -np.inf
        best = int(value.argmax())
        chosen.append(best)
        nearest = np.maximum(nearest, unit @ unit[best])
    return np.array(chosen, dtype=np.int64)


def near_duplicates(vectors: Array, threshold: float) -> Array:
    """Return a group number for each vector (m,): linked by cosines of at least ``threshold``.

    Groups are numbered in the order of their first member.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if not 0 < threshold <= 1:
        raise UsageError(f"`duplicates` is {threshold}", expected="above 0, at most 1")
    unit = _unit(vectors)
    # Half precision rounds the cosine of equal vectors to a little below 1.
    linked = unit @ unit.T >= threshold - 1e-9
    _, groups = connected_components(csr_array(linked), directed=False)
    _, first = np.unique(groups, return_index=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[groups])


def _unit(vectors: Array) -> Array:
    values = vectors.astype(np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.divide(values, norms, out=np.zeros_like(values), where=norms > 0))


def _nearest_mean(vectors: Array, reference: Array, count: int) -> Array:
    products = vectors @ reference.T
    return np.asarray(np.partition(products, -count, axis=1)[:, -count:].mean(axis=1))
