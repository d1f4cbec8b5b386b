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

METRICS: dict[str, dict[str, Any]] = {
    "mse/unit-range-v1": {},
    "pixcorr/strict-v1": {},
    "ssim/uniform7-v1": {},
}
N = 9


def pictures() -> tuple[Any, Any]:
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)
    noise = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    return (0.3 * truth + 0.7 * noise).astype(np.uint8), truth


def main(meeting: str, world: int, rank: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", world_size=world, rank=rank
    )
    reconstructed, truth = pictures()
    share = {1: [range(N)], 2: [[8, 3, 1], [0, 2, 4, 5, 6, 7, 3]], 3: [[8, 3, 1], [], [*range(N)]]}
    rows = list(share[world][rank])
    found = {}
    for name, options in METRICS.items():
        metric = create_metric(name, **options)
        for start in range(0, len(rows), 4):
            part = rows[start : start + 4]
            metric.update(reconstructed[part], truth[part], [f"item-{row}" for row in part])
        outcome = metric.compute()
        scores = None if outcome.scores is None else outcome.scores.tolist()
        found[name] = [outcome.value, scores, list(outcome.items), outcome.collapsed]
    print(json.dumps(found), flush=True)
    torch.distributed.barrier()  # nobody leaves while another still talks
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
