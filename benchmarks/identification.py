"""Two-way identification of 1,000 pictures by 184,512 features against the ways of published code.

Prints time and peak memory (beside the input) of this package, of correlating stacked rows
(``np.corrcoef`` of truths and predictions, then counting wins) and of correlating pairs one by
one, all on the same float32 features in this process, and how far the scores are apart. Pairs one
by one are timed on a part of the pictures and extrapolated, which is said beside the number.

    python benchmarks/identification.py [--quick] [--threads N] [--pictures N --features N]

The floor is one product of all truths with all predictions in float32, in one piece.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from phosphene.pipelines.metrics import two_way_identification

PAIRS = 24  # pictures whose pairs are correlated one by one
Array = np.ndarray[Any, Any]


def make_features(n: int, d: int) -> tuple[Array, Array]:
    """Return predictions and truths (n, d) like those after a ReLU: half of them zero."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((n, d), dtype=np.float32)
    predicted = rng.standard_normal((n, d), dtype=np.float32)
    predicted *= 400  # so weak that about a fifth of the comparisons are lost
    predicted += truth
    for rows in (truth, predicted):
        np.maximum(rows, 0, out=rows)
    return predicted, truth


def by_stacked_rows(predicted: Array, truth: Array) -> Array:
    """Correlate all rows with all, and count for each prediction the truths that lose."""
    n = len(truth)
    r = np.corrcoef(truth, predicted)[:n, n:]
    return (r < np.diag(r)).sum(axis=0) / (n - 1)


def by_pairs(predicted: Array, truth: Array) -> Array:
    """Correlate one pair after the other."""
    n = len(truth)
    r = np.array([[np.corrcoef(a, b)[0, 1] for b in predicted] for a in truth])
    return (r < np.diag(r)).sum(axis=0) / (n - 1)


def ours(predicted: Array, truth: Array) -> Array:
    return two_way_identification(predicted, truth).scores


def memory(kind: str) -> float:
    """Return a line of this process's status in MiB; Linux alone tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {kind}")


def measure(job: Callable[[], Any], repeats: int) -> tuple[Any, float, float]:
    """Return the result, the shortest time in seconds and the peak of new memory in MiB."""
    # Processor time of a single thread feels less of what else the machine does.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best, result, peak = float("inf"), None, 0.0
    for _ in range(repeats):
        result = None
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before, start = memory("VmRSS"), clock()
        result = job()
        best = min(best, clock() - start)
        peak = max(peak, memory("VmHWM") - before)
    return result, best, peak


def report(n: int, d: int, repeats: int) -> None:
    predicted, truth = make_features(n, d)
    few = min(PAIRS, n)
    print(f"{n:,} x {d:,} features in float32, {torch.get_num_threads()} threads; "
          f"input {2 * truth.nbytes / 2**20:,.0f} MiB")  # fmt: skip
    two_way_identification(predicted[:4], truth[:4])  # imports, first touches
    floor_in = torch.from_numpy(truth), torch.from_numpy(predicted)
    _, floor, _ = measure(lambda: floor_in[0] @ floor_in[1].T, repeats)
    scores, time_ours, peak_ours = measure(lambda: ours(predicted, truth), repeats)
    stacked, time_stacked, peak_stacked = measure(lambda: by_stacked_rows(predicted, truth), 1)
    _, time_pairs, _ = measure(lambda: by_pairs(predicted[:few], truth[:few]), 1)
    time_pairs *= (n / few) ** 2
    operations = 2 * n * n * d
    print(f"floor, one product     {floor:9.2f} s   {operations / floor / 1e9:6.1f} GFLOP/s")
    print(f"this package           {time_ours:9.2f} s   {peak_ours:9.0f} MiB")
    print(
        f"stacked rows           {time_stacked:9.2f} s   {peak_stacked:9.0f} MiB   "
        f"{time_stacked / time_ours:6.1f} x the time, {peak_stacked / peak_ours:5.1f} x the memory"
    )
    print(f"pairs one by one       {time_pairs:9.2f} s   (from {few} x {few} pairs)   "
          f"{time_pairs / time_ours:6.1f} x the time")  # fmt: skip
    gap = np.abs(scores - stacked).max()
    print(f"largest difference of a score {gap:.1e}, mean score {scores.mean():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the pictures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--features", type=int, default=184_512)
    options = parser.parse_args()
    n = min(options.pictures, 200) if options.quick else options.pictures
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        report(n, options.features, repeats=2)


if __name__ == "__main__":
    main()
