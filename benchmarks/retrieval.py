"""Search over many vectors, against a NumPy matrix product with a sort.

Run ``python benchmarks/retrieval.py`` (1 million x 768, 2 cores, about an hour with the build of
the graph) or, quickly, ``python benchmarks/retrieval.py --vectors 20000 --queries 50``. It prints,
for vectors with the spectrum of a real embedding and for white noise: recall@10 against exact
search, median latency of one query, queries per second in a batch and their ratio to NumPy's, bytes
per vector, seconds to open, and vectors per second to build. ``--sizing`` prints the table of
``docs/retrieval_sizing.md``.

The spectrum: features of EfficientNet-Lite0 of 500 photographs, of unit length, have a mean of norm
.49 and, around it, variances that fall as 1 / (i + 10) with the rank i (measured; participation
ratio 181 in 500 pictures; the generator's is 197). Vectors are Gaussian with these moments. A
Gaussian has no clusters, which real pictures have: it is the harder case.

The floor: a query of exact search reads n x d x 4 bytes, for a million vectors 3.1 GB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phosphene.pipelines.retrieval.assembling import write_index
from phosphene.pipelines.retrieval.choice import bytes_per_vector, choose
from phosphene.pipelines.retrieval.exact_vectors import as_stored
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.key_encoder import unknown_space
from phosphene.pipelines.retrieval.sizing import sizing_table
from phosphene.storage import new_folder

Array = np.ndarray[Any, Any]
BLOCK = 1 << 14
MEAN_NORM, SHIFT = 0.49, 10
SORTED = 8  # queries whose scores are sorted to time the sort


def deviations(kind: str, dimension: int) -> Array:
    """Return the standard deviation of each principal component."""
    if kind == "white":
        return np.full(dimension, dimension**-0.5, dtype=np.float32)
    variances = 1 / (np.arange(1, dimension + 1) + SHIFT)
    return np.sqrt(variances * (1 - MEAN_NORM**2) / variances.sum()).astype(np.float32)


def draw(kind: str, n: int, dimension: int, seed: int) -> Iterator[Array]:
    """Yield n vectors of unit length, block by block, the same ones every time."""
    scale = deviations(kind, dimension)
    mean = 0 if kind == "white" else np.float32(MEAN_NORM / dimension**0.5)
    for number, start in enumerate(range(0, n, BLOCK)):
        rng = np.random.default_rng([seed, number])
        count = min(BLOCK, n - start)
        values = rng.standard_normal((count, dimension), dtype=np.float32) * scale + mean
        yield as_stored(values, "cosine", source="the generator")


def exact_search(
    kind: str, n: int, queries: Array, folder: Path, k: int = 10
) -> tuple[Array, float]:
    """Return the true rows and queries per second of NumPy's product with a sort.

    The product is formed block by block, so that memory holds the best of each query alone; the
    sort is of all n scores, timed for a few queries.
    """
    path = folder / f"{kind}-{n}-truth.npz"
    if not path.is_file():
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.zeros((len(queries), k), dtype=np.int64)
        whole = np.empty((SORTED, n), dtype=np.float32)
        seconds, first = 0.0, 0
        for block in draw(kind, n, queries.shape[1], 0):
            values = block.astype(np.float32)
            start = time.perf_counter()
            scores = queries @ values.T
            seconds += time.perf_counter() - start
            whole[:, first : first + len(values)] = scores[:SORTED]
            chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            together = np.concatenate([best, np.take_along_axis(scores, chosen, 1)], axis=1)
            places = np.concatenate([rows, chosen + first], axis=1)
            order = np.argsort(-together, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(together, order, 1)
            rows = np.take_along_axis(places, order, 1)
            first += len(values)
        start = time.perf_counter()
        for row in whole:
            np.argsort(-row)
        seconds += (time.perf_counter() - start) * len(queries) / SORTED
        np.savez(path, rows=rows, rate=len(queries) / seconds)
    with np.load(path, allow_pickle=False) as stored:
        return stored["rows"], float(stored["rate"])


def build(folder: Path, kind: str, structure: str, n: int, dimension: int) -> float:
    """Write an index unless it is there, and return vectors per second."""
    timing = folder.with_suffix(".seconds")
    if timing.is_file():
        return n / float(timing.read_text())
    items = pd.DataFrame({"id": [str(row) for row in range(n)], "path": "", "caption": ""})
    start = time.perf_counter()
    with new_folder(folder) as building:
        write_index(
            building,
            target_name="given:benchmark",
            space=unknown_space("benchmark", dimension),
            projector=None,
            metric="cosine",
            choice=choose(n, dimension, kind=structure),
            automatic=False,
            items=items,
            skipped=pd.DataFrame(),
            sources=[],
            blocks=lambda: draw(kind, n, dimension, 0),
            additions=[],
        )
    seconds = time.perf_counter() - start
    timing.write_text(f"{seconds:.1f}")
    return n / seconds


def search(folder: Path, queries: Array, truth: Array, effort: int | None) -> tuple[float, ...]:
    """Return recall@10, median milliseconds of one query, and queries per second of all."""
    index = Index.open(folder)
    index.search(queries[:2])
    start = time.perf_counter()
    found = index.search(queries, 10, effort=effort).rows
    rate = len(queries) / (time.perf_counter() - start)
    times = []
    for query in queries[:100]:
        start = time.perf_counter()
        index.search(query[None], 10, effort=effort)
        times.append(time.perf_counter() - start)
    hits = [len(set(one) & set(two)) / 10 for one, two in zip(found, truth, strict=True)]
    return float(np.mean(hits)), 1000 * float(np.median(times)), rate


def opening(folder: Path) -> float:
    start = time.perf_counter()
    len(Index.open(folder).structure)
    return time.perf_counter() - start


def measure(kind: str, structure: str, options: argparse.Namespace, root: Path) -> None:
    n, dimension = options.vectors, options.dimension
    queries = np.concatenate(list(draw(kind, options.queries, dimension, 1))).astype(np.float32)
    truth, floor = exact_search(kind, n, queries, root)
    folder = root / f"{kind}-{structure}-{n}"
    rate = build(folder, kind, structure, n, dimension)
    files = Index.open(folder).file.files
    size = files["vectors"].size / n
    print(
        f"\n{kind} spectrum, {structure}, {n:,} x {dimension}: {rate:,.0f} vectors/s built, "
        f"{size:.0f} bytes per vector ({bytes_per_vector(structure, n, dimension):.0f} computed; "
        f"{size / 2 / dimension:.3f} of float16), opened in {opening(folder):.2f} s"
    )
    print(f"  NumPy product and sort: {floor:.1f} queries/s")
    for effort in options.effort or (None,):
        recall, latency, speed = search(folder, queries, truth, effort)
        print(
            f"  effort {effort or 'default'}: recall@10 {recall:.3f}, one query {latency:.2f} ms, "
            f"{speed:,.0f} queries/s, ratio {speed / floor:.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kind", action="append", help="hnsw, ivfpq or flat; may be repeated")
    parser.add_argument("--spectrum", action="append", help="real or white; may be repeated")
    parser.add_argument("--effort", action="append", type=int, help="may be repeated")
    parser.add_argument("--folder", help="keep indexes here and go on with those that are there")
    parser.add_argument("--sizing", action="store_true", help="print the sizing table alone")
    options = parser.parse_args()
    if options.sizing:
        print(sizing_table())
        return
    with ExitStack() as stack:
        name = options.folder or stack.enter_context(tempfile.TemporaryDirectory())
        Path(name).mkdir(parents=True, exist_ok=True)
        for kind in options.spectrum or ("real", "white"):
            for structure in options.kind or ("hnsw", "ivfpq"):
                measure(kind, structure, options, Path(name))


if __name__ == "__main__":
    main()
