"""Training EEG encoders: the folded kernel, the way of the data, and 200-way evaluation.

    python benchmarks/eeg_encoders.py [--pictures 2048] [--epochs 1]

Random data of the sizes of THINGS-EEG2 (63 x 250 samples; 16,540 pictures with ``--pictures``).
Every ratio is of two ways timed one after the other in this run; both give the same numbers,
which is checked. The usual way of the data is a loader that takes samples one by one from a
float64 array; ours keeps the subject on the device (float32 on a CPU, which is slow at half
precision) and takes a batch by one index.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from phosphene.encoders.brain.electric.atm import ATMEncoder
from phosphene.encoders.brain.electric.base import ElectricEncoder
from phosphene.encoders.brain.electric.flat_mlp import FlatMLPEncoder
from phosphene.encoders.brain.electric.folded import FoldedConvPool

N_CHANS, N_TIMES, WIDTH, BATCH = 63, 250, 1024, 256


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the shortest of a few timings."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def fold(repeats: int) -> None:
    folded = FoldedConvPool()
    plain = nn.Conv2d(1, 40, (1, 25))
    plain.load_state_dict(folded.state_dict())
    usual = nn.Sequential(plain, nn.AvgPool2d((1, 51), (1, 5)))
    x = torch.randn(32, 1, N_CHANS, N_TIMES)
    error = (folded(x) - usual(x)).abs().max().item()

    def step(module: nn.Module) -> Callable[[], None]:
        def run() -> None:
            module.zero_grad()
            module(x).square().sum().backward()

        return run

    ours, theirs = seconds(step(folded), repeats), seconds(step(usual), repeats)
    work = [40 * 25 * 226, 40 * 75 * 36]
    print(
        f"convolution and pooling, forward and backward, 32 x {N_CHANS} x {N_TIMES}: "
        f"folded {1000 * ours:.0f} ms, two layers {1000 * theirs:.0f} ms, ratio "
        f"{theirs / ours:.1f}; multiplications {work[0] / work[1]:.1f} times fewer; "
        f"largest difference {error:.1e}"
    )


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """One sample at a time from float64 arrays."""

    def __init__(self, eeg: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> None:
        self.eeg, self.target = eeg, target

    def __len__(self) -> int:
        return len(self.eeg)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.eeg[index]).float(), torch.tensor(self.target[index]).float()


def train(model: ElectricEncoder, batches: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of an epoch and how many of them went into getting batches."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    start, waited = time.perf_counter(), 0.0
    iterator = iter(batches())
    while True:
        before = time.perf_counter()
        batch = next(iterator, None)
        waited += time.perf_counter() - before
        if batch is None:
            return time.perf_counter() - start, waited
        x, y = batch
        z = nn.functional.normalize(model(x), dim=1)
        logits = model.scale * z @ nn.functional.normalize(y, dim=1).T
        labels = torch.arange(len(x))
        loss = nn.functional.cross_entropy(logits, labels)
        loss = (loss + nn.functional.cross_entropy(logits.T, labels)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def epochs(n: int, names: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    eeg = torch.randn(n, N_CHANS, N_TIMES, generator=generator)
    target = torch.randn(n, WIDTH, generator=generator)
    double, double_target = eeg.numpy().astype(np.float64), target.numpy().astype(np.float64)

    def ours() -> Any:
        for rows in torch.randperm(n).split(BATCH):
            yield eeg[rows], target[rows]

    def usual() -> Any:
        return DataLoader(Samples(double, double_target), batch_size=BATCH, shuffle=True)

    made = {"flat_mlp": FlatMLPEncoder, "atm": ATMEncoder}
    for name in names:
        torch.manual_seed(0)
        model = made[name](WIDTH, N_CHANS, N_TIMES)
        whole, data = train(model, ours)
        other, other_data = train(model, usual)
        print(
            f"{name}, one epoch of {n} pictures: {whole:.1f} s, of which data {data:.2f} s "
            f"({100 * data / whole:.1f} %); usual data path {other:.1f} s, of which data "
            f"{other_data:.2f} s; data {other_data / data:.1f} times, epoch "
            f"{other / whole:.2f} times"
        )


def evaluation(repeats: int) -> None:
    rng = np.random.default_rng(0)
    z, v = (rng.normal(size=(200, WIDTH)).astype(np.float32) for _ in range(2))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    v /= np.linalg.norm(v, axis=1, keepdims=True)

    def product() -> float:
        scores = z @ v.T
        return float((scores.argmax(axis=1) == np.arange(200)).mean())

    def loop() -> float:
        hits = 0
        for row in range(200):
            scores = [float(z[row] @ v[column]) for column in range(200)]
            hits += int(np.argmax(scores)) == row
        return hits / 200

    if product() != loop():
        raise SystemExit("the two ways of evaluating differ")
    ours, theirs = seconds(product, repeats), seconds(loop, 1)
    print(f"200-way identification: {1000 * ours:.2f} ms, loops {1000 * theirs:.0f} ms, ratio "
          f"{theirs / ours:.0f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmarks of training EEG encoders.")
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--encoders", nargs="+", default=["flat_mlp", "atm"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU")
    fold(options.repeats)
    evaluation(options.repeats)
    epochs(options.pictures, options.encoders)


if __name__ == "__main__":
    main()
