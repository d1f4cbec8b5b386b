"""Training samples per second of mindeye2 (default and faithful) and bit.

Forward and gradients of one batch, tokens alone, on one subject. The faithful form has a dense head
of ``width x n_tokens x dim`` numbers and a trunk that does nothing; the default a factorised head.

    python benchmarks/brain_encoders.py [--voxels 15000] [--batch 16] [--threads 1] [--quick]
"""

from __future__ import annotations

import argparse
import time

import torch

from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.bit import BITEncoder
from phosphene.encoders.brain.mindeye2 import MindEye2Encoder


def seconds(encoder: NetworkEncoder, voxels: torch.Tensor, turns: int) -> float:
    """Return the shortest processor time of a training step, after one to warm up."""
    encoder.train()
    found = []
    for turn in range(turns + 1):
        start = time.process_time()
        encoder.zero_grad(set_to_none=True)
        encoder({"01": voxels})["tokens"].square().mean().backward()
        if turn:
            found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=15_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of voxels and tokens")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_voxels, shape = options.voxels, [256, 1664]
    if options.quick:
        n_voxels, shape = n_voxels // 10, [26, 166]
    voxels, given = torch.randn(options.batch, n_voxels), {"01": n_voxels}
    targets = {"tokens": shape}
    base = None
    for name, make in (
        ("mindeye2, faithful", lambda: MindEye2Encoder(given, targets, options.width, True)),
        ("mindeye2, default", lambda: MindEye2Encoder(given, targets, options.width)),
        ("bit", lambda: BITEncoder(given, targets)),
    ):
        torch.manual_seed(0)
        encoder = make()
        size = sum(one.numel() for one in encoder.parameters())
        rate = options.batch / seconds(encoder, voxels, 1 if options.quick else 3)
        base = rate if base is None else base
        print(f"{name:20} {size:>13,} parameters {rate:8.2f} samples/s, {rate / base:.1f} times")
        del encoder


if __name__ == "__main__":
    main()
