"""Training EEG encoders: the folded kernels, the way of the data, and 200-way evaluation.

    python benchmarks/eeg_encoders.py [--pictures 16540] [--steps 16]

Random data of the size of THINGS-EEG2 (16,540 pictures x 63 x 250). The usual way of the data is a
loader that takes samples one by one from a float64 array, stacks them and makes them float32, as
public code has it; ours is that of the training loop: everything in memory as float16, means of
trials made in one pass by a thread while the network is busy. Whole epochs of the data are timed
alone, of averaged pictures and of a random number of four trials, then ``--steps`` steps of
training by either way. Every ratio is of two ways timed one after the other in this run; that both
give the same numbers, but for float16, is checked. Seconds of the clock depend on what else the
machine does, processor seconds less so: both are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from phosphene.encoders.brain.electric.atm import ATMEncoder
from phosphene.encoders.brain.electric.base import ElectricEncoder
from phosphene.encoders.brain.electric.conformer import TimeSpaceConv
from phosphene.encoders.brain.electric.flat_mlp import FlatMLPEncoder
from phosphene.encoders.brain.electric.folded import FoldedConvPool
from phosphene.pipelines.metrics.retrieval import brain_to_image_retrieval
from phosphene.pipelines.training.gathering import gathered
from phosphene.pipelines.training.trial_means import TrialMeans

N_CHANS, N_TIMES, WIDTH, BATCH = 63, 250, 1024, 256
Array = np.ndarray[Any, Any]
Batches = Callable[[list[Tensor]], Iterable[tuple[Tensor, Tensor]]]


def seconds(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the shortest of a few timings: by the clock, and of the processor."""
    times = []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - start, time.process_time() - busy))
    clock, processor = np.array(times).min(axis=0)
    return float(clock), float(processor)


def compare(
    what: str, ours: nn.Module, usual: nn.Module, x: Tensor, u: Tensor, repeats: int, floor: str
) -> None:
    error = (ours(x) - usual(u).reshape(ours(x).shape)).abs().max().item()

    def step(module: nn.Module, given: Tensor) -> Callable[[], None]:
        def run() -> None:
            module.zero_grad()
            module(given).square().sum().backward()

        return run

    mine, theirs = (seconds(step(m, g), repeats)[1] for m, g in ((ours, x), (usual, u)))
    print(
        f"{what}, forward and backward, {len(x)} x {N_CHANS} x {N_TIMES}: one kernel "
        f"{1000 * mine:.0f} ms of processor, two layers {1000 * theirs:.0f} ms, ratio "
        f"{theirs / mine:.1f}; {floor}; largest difference {error:.1e}"
    )


def folds(repeats: int) -> None:
    folded = FoldedConvPool()
    plain = nn.Conv2d(1, 40, (1, 25))
    plain.load_state_dict(folded.state_dict())
    x = torch.randn(32, 1, N_CHANS, N_TIMES)
    compare(
        "convolution in time and pooling",
        folded, nn.Sequential(plain, nn.AvgPool2d((1, 51), (1, 5))), x, x, repeats,
        f"sums of products {40 * (25 * 226 + 51 * 36) / (40 * 75 * 36):.1f} times fewer, numbers "
        f"in between {(226 + 36) / 36:.1f} times fewer",
    )  # fmt: skip
    joined = TimeSpaceConv(N_CHANS, 40, 25)
    compare(
        "convolutions in time and over channels",
        joined, nn.Sequential(joined.temporal, joined.spatial), x[:, 0], x, repeats,
        f"sums of products {(40 * 25 + 40 * 40) / (40 * 25):.1f} times fewer, numbers in between "
        f"{N_CHANS + 1} times fewer",
    )  # fmt: skip


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """One picture at a time from float64 arrays: its only row, or the mean of some of its trials.

    Rows (n, C, T) are taken as they are; of trials (n, 4, C, T) a random number is averaged.
    """

    def __init__(self, eeg: Array, target: Array) -> None:
        self.eeg, self.target = torch.from_numpy(eeg), torch.from_numpy(target)
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.eeg)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = self.eeg[index]
        if row.ndim == 3:
            some = self.rng.permutation(len(row))[: self.rng.integers(1, len(row) + 1)]
            row = row[torch.from_numpy(some)].mean(dim=0)
        return row, self.target[index]


def train(model: ElectricEncoder, batches: Iterable[tuple[Tensor, Tensor]]) -> Array:
    """Return of every step: seconds of waiting for data, of all by the clock, of the processor."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    iterator, rows = iter(batches), []
    while True:
        before, busy = time.perf_counter(), time.process_time()
        batch = next(iterator, None)
        waited = time.perf_counter() - before
        if batch is None:
            return np.array(rows)
        x, y = batch
        z = nn.functional.normalize(model(x), dim=1)
        logits = model.scale * z @ nn.functional.normalize(y, dim=1).T
        labels = torch.arange(len(x))
        loss = nn.functional.cross_entropy(logits, labels)
        loss = (loss + nn.functional.cross_entropy(logits.T, labels)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rows.append((waited, time.perf_counter() - before, time.process_time() - busy))


def of_epoch(steps: Array, count: int) -> Array:
    """Return the seconds of an epoch of so many steps: its first one, and others like the rest."""
    found: Array = steps[0] + (count - 1) * np.median(steps[1:], axis=0)
    return found


def ways(n: int, trials: int) -> tuple[Batches, Batches]:
    """Return our way of the data and the usual one, of the same random data."""
    shape = (n * trials, N_CHANS, N_TIMES)
    eeg = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float16)
    target = torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(1))
    means = TrialMeans(eeg, torch.full((n,), trials))
    rows = eeg.numpy().astype(np.float64)
    if trials > 1:
        rows = rows.reshape(n, trials, N_CHANS, N_TIMES)
    samples = Samples(rows, target.numpy().astype(np.float64))

    def ours(parts: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in gathered({"y": target}, parts, partial(means.gather, epoch=0)):
            yield batch["x"], batch["y"]

    def usual(parts: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in DataLoader(samples, batch_sampler=[rows.tolist() for rows in parts]):
            yield x.float(), y.float()

    some = [torch.tensor([5, 1])]
    if trials == 1 and not all(
        torch.equal(*pair) for pair in zip(next(ours(some)), next(usual(some)), strict=True)
    ):
        raise SystemExit("the two ways give different batches")
    return ours, usual


def data_alone(n: int, trials: int, share: int) -> tuple[Batches, Batches, float]:
    """Time epochs of the data alone, of one in ``share`` pictures; return processor seconds too."""
    ours, usual = ways(n // share, trials)
    order = list(torch.randperm(n // share).split(BATCH))

    def alone(way: Batches) -> Callable[[], None]:
        def run() -> None:
            for _ in way(order):
                pass

        return run

    mine, busy = (share * value for value in seconds(alone(ours), 3))
    other, other_busy = (share * value for value in seconds(alone(usual), 2))
    what = "averaged pictures" if trials == 1 else f"means of 1 to {trials} trials"
    part = "" if share == 1 else f" (from one picture in {share})"
    print(
        f"the data of an epoch alone, {n} {what}{part}: ours {mine:.2f} s by the clock, "
        f"{busy:.2f} s of processor; usual {other:.2f} s, {other_busy:.2f} s; ratio "
        f"{other / mine:.1f} and {other_busy / busy:.1f}"
    )
    return ours, usual, busy


def epochs(n: int, names: list[str], steps: int) -> None:
    data_alone(n, 4, max(1, n // 2000))
    ours, usual, busy = data_alone(n, 1, 1)
    order = list(torch.randperm(n).split(BATCH))
    made = {"flat_mlp": FlatMLPEncoder, "atm": ATMEncoder}
    part = order[:steps]
    for name in names:
        model = made[name](WIDTH, N_CHANS, N_TIMES)
        train(model, ours(part[:1]))  # what is done once is not timed
        mine, theirs = (of_epoch(train(model, way(part)), len(order)) for way in (ours, usual))
        print(
            f"{name}, an epoch of {len(order)} steps from {len(part)}: waiting for data "
            f"{mine[0]:.3f} s of {mine[1]:.0f} s by the clock ({100 * mine[0] / mine[1]:.3f} %; "
            f"of its processor time data are {100 * busy / mine[2]:.1f} %); "
            f"usual {theirs[0]:.2f} s of {theirs[1]:.0f} s; data {theirs[0] / mine[0]:.0f} times "
            f"less, end to end {theirs[1] / mine[1]:.2f} times by the clock and "
            f"{theirs[2] / mine[2]:.3f} times of processor ({mine[2]:.0f} s, {theirs[2]:.0f} s)"
        )


def evaluation(repeats: int) -> None:
    rng = np.random.default_rng(0)
    v = rng.normal(size=(200, WIDTH)).astype(np.float32)
    z = v + 25 * rng.normal(size=v.shape).astype(np.float32)
    z, v = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (z, v))

    def product() -> float:
        return float(((z @ v.T).argmax(axis=1) == np.arange(200)).mean())

    def loop() -> float:
        hits = [int(np.argmax([float(z[row] @ v[k]) for k in range(200)])) for row in range(200)]
        return float((np.array(hits) == np.arange(200)).mean())

    if product() != loop():
        raise SystemExit("the two ways of evaluating differ")
    mine, theirs = seconds(product, repeats)[0], seconds(loop, 1)[0]
    print(f"200-way top-1 {product():.3f}: {1000 * mine:.2f} ms, loops {1000 * theirs:.0f} ms, "
          f"ratio {theirs / mine:.0f}")  # fmt: skip
    scores, draws = z @ v.T, 100
    exact = brain_to_image_retrieval(z, v)
    for ways in (2, 4, 10):

        def sampled(ways: int = ways) -> float:
            hits = 0
            for _ in range(draws):
                for row in range(200):
                    rivals = rng.choice(199, ways - 1, replace=False)
                    rivals = rivals + (rivals >= row)
                    hits += scores[row, row] > scores[row, rivals].max()
            return hits / draws / 200

        closed = float(exact.top_1_among(ways).mean())
        found = sampled()
        again = [
            seconds(work, count)[0]
            for work, count in ((lambda k=ways: exact.top_1_among(k), repeats), (sampled, 1))
        ]
        print(
            f"{ways}-way: closed form {closed:.4f} in {1000 * again[0]:.2f} ms, {draws} draws per "
            f"picture {found:.4f} in {1000 * again[1]:.0f} ms, ratio {again[1] / again[0]:.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmarks of training EEG encoders.")
    parser.add_argument("--pictures", type=int, default=16540)
    parser.add_argument("--steps", type=int, default=16, help="of training, each of 256 pictures")
    parser.add_argument("--encoders", nargs="+", default=["flat_mlp", "atm"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU")
    folds(options.repeats)
    evaluation(options.repeats)
    epochs(options.pictures, options.encoders, options.steps)


if __name__ == "__main__":
    main()
