"""Folded cluster attention against plain graph attention, forward and with gradients.

Both compute the same (the largest difference is printed). The plain form makes a key and a value
for every voxel of every sample, about ``8 N d**2`` operations; the folded one about ``4 N d``.

    python benchmarks/cluster_attention.py [--voxels 15000] [--batch 8] [--threads 1] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from phosphene.encoders.brain.cluster_attention import ClusterAttention, cluster_slots


def seconds(run: Callable[[], object], turns: int) -> float:
    """Return the shortest processor time of several turns, after one to warm up."""
    run()
    found = []
    for _ in range(turns):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=15_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--clusters", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the voxels, one turn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_voxels = options.voxels // 10 if options.quick else options.voxels
    turns = 1 if options.quick else 4
    torch.manual_seed(0)
    attention = ClusterAttention(options.width)
    centers = torch.randn(options.clusters, options.width)
    embedding = torch.randn(n_voxels, options.width, requires_grad=True)
    # Sizes differ by a quarter of the mean, as those of real clusters may.
    cluster = torch.randint(options.clusters, (n_voxels,))
    slots = cluster_slots(cluster, options.clusters)
    voxels = torch.randn(options.batch, n_voxels)
    folded = lambda: attention(voxels, embedding, centers, slots)  # noqa: E731
    plain = lambda: attention.plain(voxels, embedding, centers, cluster)  # noqa: E731
    with torch.no_grad():
        print(f"largest difference: {float((folded() - plain()).abs().max()):.1e}")
        times = [seconds(run, turns) for run in (folded, plain)]
    report("forward", times, options.batch)
    times = [
        seconds(lambda run=run: run().square().sum().backward(), turns) for run in (folded, plain)
    ]
    report("forward and gradients", times, options.batch)


def report(what: str, times: list[float], batch: int) -> None:
    folded, plain = (1000 * one / batch for one in times)
    print(
        f"{what}: folded {folded:.1f} ms, plain {plain:.1f} ms a sample, ratio {plain / folded:.1f}"
    )


if __name__ == "__main__":
    main()
