"""One process of several that score shares of the same items: prints the outcomes as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch.distributed

from phosphene.pipelines.metrics.specs import create_metric

NETWORK = (  # through a network, whose features are rounded in another way in another batch
    "efficientnet-lite0/strict-v1",
    "efficientnet-lite0-distance/strict-v1",
    "fid-efficientnet-lite0/strict-v1",
    "kid-efficientnet-lite0/strict-v1",
)
METRICS = (
    "mse/unit-range-v1",
    "ssim/uniform7-v1",
    "two-way-pixels/strict-v1",
    "two-way-pixels/takagi",
    "brain-to-image-top1/strict-v1",
    "image-to-brain-rank/strict-v1",
)
N = 9
SHARES = {  # unequal, out of order, one item twice, one process without any
    2: [[8, 3, 1], [0, 2, 4, 5, 6, 7, 3]],
    3: [[8, 3, 1], [], [0, 2, 4, 5, 6, 7, 3]],
}


def pairs(kind: str) -> tuple[Any, Any]:
    """Return pictures, or embeddings where metrics search them."""
    rng = np.random.default_rng(8)
    if kind == "retrieval":
        truth = rng.normal(size=(N, 20))
        return truth + 2 * rng.normal(size=truth.shape), truth
    truth = rng.integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
    noise = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    return (0.05 * truth + 0.95 * noise).astype(np.uint8), truth


def outcomes(rows: list[int], names: tuple[str, ...] = METRICS) -> dict[str, Any]:
    """Score these items in batches; in a process group, all of them with those of the others."""
    found = {}
    for name in names:
        metric = create_metric(name)
        made, truth = pairs(metric.spec.kind)
        for start in range(0, len(rows), 4):
            part = rows[start : start + 4]
            metric.update(made[part], truth[part], [f"item-{row}" for row in part])
        outcome = metric.compute()
        scores = None if outcome.scores is None else outcome.scores.tolist()
        found[name] = [outcome.value, scores, list(outcome.items)]
    return found


def main(meeting: str, world: int, rank: int, names: tuple[str, ...]) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", world_size=world, rank=rank
    )
    print(json.dumps(outcomes(SHARES[world][rank], names)), flush=True)
    torch.distributed.barrier()  # nobody leaves while another still talks
    torch.distributed.destroy_process_group()
    os._exit(0)  # threads of gloo that are left at the interpreter's end sometimes abort it


if __name__ == "__main__":
    chosen = NETWORK if sys.argv[4:] == ["network"] else METRICS
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), chosen)
