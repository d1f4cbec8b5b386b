"""Which search structure for how many vectors, and what it needs: bytes, not guesses.

Flat search is exact and is taken below 100,000 vectors. Above, to a quarter of a million, a graph
(HNSW; Malkov and Yashunin 2018, IEEE TPAMI 42) over half-precision vectors where memory allows;
beyond, where a graph of these links finds too little for its time (measured), inverted lists of
product-quantised vectors (IVF-PQ; Jegou, Douze and Schmid 2011, IEEE TPAMI 33), whose best
candidates are compared again with the vectors on disk. Codes are of four bits: their tables fit
into a processor's registers (Andre, Kermarrec and Le Scouarnec 2015, PVLDB 9), which reads them so
much faster than codes of eight bits that a large share of the lists can be visited.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import log2, sqrt
from typing import Literal

from phosphene.errors import UsageError, check_option

__all__ = ["FLAT_BELOW", "GRAPH_TO", "Choice", "bytes_per_vector", "choose", "half_of_memory"]

Kind = Literal["flat", "hnsw", "ivfpq"]
FLAT_BELOW, GRAPH_TO = 100_000, 250_000
LINKS, CONSTRUCTION = 32, 100  # HNSW: links per node, candidates of building
LEAST, MOST, NUMBERS = 256, 1024, 1 << 17  # HNSW: candidates of searching, and numbers in them
PARTS, REDUCED = 128, 256  # IVF-PQ: codes of 4 bits per vector, principal components they are of
PROBED, CANDIDATES = 0.375, 500  # IVF-PQ: share of the lists that is visited, re-ranked at least
RE_RANKED = 0.5  # times the root of their number: rivals whose codes are as near grow with it
BLOCK = 32  # IVF-PQ: codes that lie together; the last block of a list is half empty on average
GRAPH_OF_LISTS = 1 << 14  # IVF-PQ: from here on a graph finds the lists faster than a product
POINTS_PER_LIST = 40  # for training k-means; faiss warns below 39


@dataclass(frozen=True)
class Choice:
    """A search structure with its parameters and the reason for it."""

    kind: Kind
    parameters: dict[str, int | float | str]


def choose(n: int, dimension: int, *, kind: str = "auto", memory: float | None = None) -> Choice:
    """Choose structure and parameters.

    Parameters
    ----------
    n : int
        Vectors.
    dimension : int
    kind : {"auto", "flat", "hnsw", "ivfpq"}
    memory : float, optional
        Bytes the index may occupy; half of this machine's by default.

    Raises
    ------
    UsageError
        If there are too few vectors to train IVF-PQ.
    """
    check_option("kind", kind, ("auto", "flat", "hnsw", "ivfpq"))
    budget = half_of_memory() if memory is None else memory
    reason = "as asked"
    if kind == "auto":
        graph = n * bytes_per_vector("hnsw", n, dimension)
        if n < FLAT_BELOW:
            kind, reason = "flat", f"fewer than {FLAT_BELOW:,} vectors: exact search is fast enough"
        elif n > GRAPH_TO:
            kind, reason = "ivfpq", f"more than {GRAPH_TO:,} vectors: codes find more in the time"
        elif graph <= budget:
            kind = "hnsw"
            reason = f"{graph / 1e9:.2f} GB fit into the budget of {budget / 1e9:.2f} GB"
        else:
            kind = "ivfpq"
            reason = f"a graph of {graph / 1e9:.2f} GB exceeds the budget of {budget / 1e9:.2f} GB"
    parameters: dict[str, int | float | str] = {"reason": reason}
    if kind == "hnsw":
        parameters |= {"links": LINKS, "construction": CONSTRUCTION, "effort": _effort(dimension)}
    elif kind == "ivfpq":
        parameters |= _quantiser(n, dimension)
    return Choice(kind, parameters)  # type: ignore[arg-type]


def _effort(dimension: int) -> int:
    """Return how many candidates a walk through the graph keeps: more where vectors are short.

    Decoded embeddings lie beside the pictures they are compared with, where a graph has few ways,
    and want a wide search; it costs the same at any dimension.
    """
    return min(MOST, max(LEAST, 1 << max(0, round(log2(NUMBERS / dimension)))))


def bytes_per_vector(kind: str, n: int, dimension: int) -> float:
    """Return the bytes of the search structure per vector, without pictures and metadata.

    Flat search keeps float32; HNSW float16 and its links (twice ``links`` on the ground floor,
    offsets, and a share of the floors above); IVF-PQ code and row number, centroids and rotation
    shared by all. IVF-PQ keeps float16 vectors on disk besides, which are not counted.
    """
    if kind == "flat":
        return 4.0 * dimension
    if kind == "hnsw":
        upper = LINKS * 4 / (LINKS - 1)  # a node is on one more floor with probability 1 / links
        return 2.0 * dimension + 2 * LINKS * 4 + upper + 4 + 8
    parameters = _quantiser(n, dimension)
    parts, lists, reduced = (int(parameters[key]) for key in ("parts", "lists", "reduced"))
    code = (parts + 1) // 2
    components = (reduced + dimension) * dimension  # those that are left out are stored as well
    shared = 4 * (lists * reduced + components + 16 * reduced) + lists * BLOCK / 2 * code
    return code + 8 + shared / n


def _quantiser(n: int, dimension: int) -> dict[str, int | float | str]:
    """Return parameters of IVF-PQ: about the square root of n lists, a power of two."""
    lists = 2 ** max(0, round(log2(sqrt(max(n, 1)))))
    while lists > 1 and n < POINTS_PER_LIST * lists:
        lists //= 2
    if n < 256:
        raise UsageError(
            f"an IVF-PQ index of {n} vectors",
            expected="256 vectors at least, to train its codes",
            remedy="leave --kind away: few vectors are searched exactly",
        )
    parts = min(PARTS, max(dimension // 2 * 2, 1))
    return {
        "lists": lists,
        "parts": parts,
        "reduced": min(REDUCED, dimension) // parts * parts,
        "probes": max(1, round(PROBED * lists)),
        "candidates": max(CANDIDATES, round(RE_RANKED * sqrt(n))),
    }


def half_of_memory() -> float:
    """Return half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
