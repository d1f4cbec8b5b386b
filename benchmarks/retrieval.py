"""Search over many vectors, against a NumPy matrix product with a sort.

Run ``python benchmarks/retrieval.py`` (1 million x 768, 2 cores; the builds take most of the time
and are kept with ``--folder``) or, quickly, ``python benchmarks/retrieval.py --vectors 20000
--queries 50``. It prints, for vectors with the spectrum of a real embedding and for white noise:
recall@10 against exact search, median latency of one query, queries per second in a batch and their
ratio to NumPy's, bytes per vector, seconds to open, and vectors per second to build. Seconds of the
processor are shown as well, which other work on the machine disturbs less. ``--sizing`` prints the
table of ``docs/retrieval_sizing.md``.

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


class Clock:
    """Seconds on the wall and of this process since it was made.

    They are the same on a machine that does nothing else, with one thread.
    """

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> Array:
        return np.array([time.perf_counter() - self.wall, time.process_time() - self.processor])


def exact_search(kind: str, n: int, queries: Array, folder: Path, k: int = 10) -> Array:
    """Return the true rows (queries, k); memory holds one block and the best of each query."""
    path = folder / f"{kind}-{n}-truth.npz"
    if not path.is_file():
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.zeros((len(queries), k), dtype=np.int64)
        first = 0
        for block in draw(kind, n, queries.shape[1], 0):
            scores = queries @ block.astype(np.float32).T
            chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            together = np.concatenate([best, np.take_along_axis(scores, chosen, 1)], axis=1)
            places = np.concatenate([rows, chosen + first], axis=1)
            order = np.argsort(-together, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(together, order, 1)
            rows = np.take_along_axis(places, order, 1)
            first += len(block)
        np.savez(path, rows=rows)
    with np.load(path, allow_pickle=False) as stored:
        return np.asarray(stored["rows"])


def product_and_sort(n: int, queries: Array) -> Array:
    """Return the seconds (wall, processor) that NumPy takes for all queries and n vectors.

    The product of one block counts as often as there are blocks, the sort of a few queries' n
    scores as often as there are such groups.
    """
    rng = np.random.default_rng(0)
    block = rng.standard_normal((min(BLOCK, n), queries.shape[1]), dtype=np.float32)
    scores = rng.standard_normal((SORTED, n), dtype=np.float32)
    queries @ block.T
    clock = Clock()
    queries @ block.T
    product = clock.read()
    clock = Clock()
    for row in scores:
        np.argsort(-row)
    return product * n / len(block) + clock.read() * len(queries) / SORTED


def build(folder: Path, kind: str, structure: str, n: int, dimension: int) -> Array:
    """Write an index unless it is there, and return seconds (wall, processor)."""
    timing = folder.with_suffix(".seconds")
    if timing.is_file():
        return np.array([float(word) for word in timing.read_text().split()])
    items = pd.DataFrame({"id": [str(row) for row in range(n)], "path": "", "caption": ""})
    clock = Clock()
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
    seconds = clock.read()
    timing.write_text(" ".join(f"{value:.1f}" for value in seconds))
    return seconds


def search(
    index: Index, queries: Array, truth: Array, effort: int | None
) -> tuple[float, Array, Array]:
    """Return recall@10, and seconds (wall, processor) of one query (median) and of all."""
    index.search(queries[:2])
    clock = Clock()
    found = index.search(queries, 10, effort=effort).rows
    together = clock.read()
    times = []
    for query in queries[:100]:
        clock = Clock()
        index.search(query[None], 10, effort=effort)
        times.append(clock.read())
    hits = [len(set(one) & set(two)) / 10 for one, two in zip(found, truth, strict=True)]
    return float(np.mean(hits)), np.median(times, axis=0), together


def measure(kind: str, structure: str, options: argparse.Namespace, root: Path) -> None:
    n, dimension = options.vectors, options.dimension
    queries = np.concatenate(list(draw(kind, options.queries, dimension, 1))).astype(np.float32)
    truth = exact_search(kind, n, queries, root)
    folder = root / f"{kind}-{structure}-{n}"
    rates = n / build(folder, kind, structure, n, dimension)
    clock = Clock()
    index = Index.open(folder)
    len(index.structure)
    opening = clock.read()
    size = index.file.files["vectors"].size / n
    print(
        f"\n{kind} spectrum, {structure}, {n:,} x {dimension}; seconds on the wall (of the "
        f"processor)\n  built {rates[0]:,.0f} ({rates[1]:,.0f}) vectors/s; {size:.1f} bytes per "
        f"vector ({bytes_per_vector(structure, n, dimension):.1f} computed, "
        f"{size / 2 / dimension:.3f} of float16); opened in {opening[0]:.2f} ({opening[1]:.2f}) s"
    )
    floor = product_and_sort(n, queries)
    rates = len(queries) / floor
    print(f"  NumPy product and sort: {rates[0]:.1f} ({rates[1]:.1f}) queries/s")
    for effort in options.effort or (None,):
        recall, one, together = search(index, queries, truth, effort)
        rates, ratios = len(queries) / together, floor / together
        print(
            f"  effort {effort or 'default'}: recall@10 {recall:.3f}, one query "
            f"{1000 * one[0]:.2f} ({1000 * one[1]:.2f}) ms, {rates[0]:,.0f} ({rates[1]:,.0f}) "
            f"queries/s, ratio {ratios[0]:.1f} ({ratios[1]:.1f})",
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
