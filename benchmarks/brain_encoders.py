"""What training brain encoders costs: samples per second, reading an epoch, memory by trials.

    python benchmarks/brain_encoders.py [--voxels 15000] [--batch 16] [--threads 1] [--quick]
    python benchmarks/brain_encoders.py --what reading
    python benchmarks/brain_encoders.py --what memory

``samples``: forward and gradients of one batch, tokens alone, of one subject, for ``mindeye2`` in
both forms and ``bit``. The faithful form has a dense head of ``width x n_tokens x dim`` numbers and
a trunk that does nothing; the default a factorised head. ``reading``: one epoch of single trials in
a random order, from the memory map of a dataset, from hdf5 row by row as a peer reads it, and from
shards, each read once. ``memory``: of a training at 1,000 and at 100,000 trials that are not held.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.bit import BITEncoder
from phosphene.encoders.brain.mindeye2 import MindEye2Encoder

Array = np.ndarray[Any, Any]


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


def samples(options: argparse.Namespace) -> None:
    """Print samples per second, and how many times those of the faithful form they are."""
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
        rate = options.batch / seconds(encoder, voxels, options.turns)
        base = rate if base is None else base
        print(
            f"{name:20} {size:>13,} parameters {rate:8.2f} samples/s, {rate / base:.1f} times",
            flush=True,
        )
        del encoder


def made_up(folder: Path, n_trials: int, n_voxels: int) -> Any:
    """Write a dataset of one subject, in half precision, in blocks."""
    import pandas as pd

    from phosphene.data.prepare import write_subject
    from phosphene.trials import complete_trials
    from phosphene.types import Recording, VoxelSpace

    path = folder / "recording.npy"
    data = np.lib.format.open_memmap(path, "w+", dtype=np.float16, shape=(n_trials, n_voxels))
    block = np.random.default_rng(0).normal(size=(500, n_voxels)).astype(np.float16)
    for start in range(0, n_trials, 500):
        data[start : start + 500] = block[: n_trials - start]
    data.flush()
    trials = complete_trials(
        pd.DataFrame({"stimulus_id": [f"p{row % 100:03d}" for row in range(n_trials)]}), n_trials
    )
    recording = Recording(data, "fmri", "01", trials, VoxelSpace.columns(n_voxels))
    return write_subject(folder / "dataset", recording, None, dtype="float16")


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Return wall-clock and processor seconds."""
    wall, own = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - own


def reading(options: argparse.Namespace) -> None:
    """Print what an epoch of single trials takes to read, in three ways."""
    import h5py

    from phosphene.data.shards.array import ShardArray
    from phosphene.data.shards.streaming import ShardSource
    from phosphene.data.shards.writing import write_shards

    n_trials = options.trials // (10 if options.quick else 1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        dataset = made_up(folder, n_trials, options.voxels)
        write_shards(dataset, folder / "shards", trials_per_shard=max(1, n_trials // 8))
        with h5py.File(folder / "betas.hdf5", "w") as file:
            file.create_dataset("betas", data=dataset.recording("01").data)
        order = np.random.default_rng(1).permutation(n_trials)
        batches = np.array_split(order, max(1, n_trials // options.batch))
        mapped = dataset.recording("01").data
        array = ShardArray(ShardSource(str(folder / "shards")), dataset, "01")
        (window,) = array.shuffled(np.arange(n_trials), 1)

        def from_hdf5() -> None:
            with h5py.File(folder / "betas.hdf5") as file:
                for rows in batches:
                    np.stack([file["betas"][row] for row in rows]).sum()

        def from_map() -> None:
            for rows in batches:
                mapped[rows].sum()

        def from_shards() -> None:
            for rows in np.array_split(window, len(batches)):
                array[rows].sum()

        size = n_trials * options.voxels * 2 / 1e6
        print(f"{n_trials} trials of {options.voxels} voxels, {size:.0f} MB, cached by the system")
        for what, run in (
            ("hdf5, row by row", from_hdf5), ("memory map", from_map), ("shards", from_shards),
        ):  # fmt: skip
            wall, own = timed(run)
            print(f"{what:18} {wall:6.2f} s, {own:6.2f} s of the processor, {size / own:6.0f} MB/s")


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.mlp import MLPEncoder
from phosphene.pipelines.training.brain_objective import BrainObjective, LossConfig
from phosphene.pipelines.training.engine import EngineConfig, train
from phosphene.pipelines.training.trial_items import VoxelStore, lazy_recording, make_items
folder, steps = sys.argv[1], int(sys.argv[2])
dataset = CanonicalDataset.open(folder)
rows = np.ones(len(dataset.table), dtype=bool)
recording = lazy_recording(dataset, "01", rows)
preprocessor = Preprocessor().accept("01", recording.space)
items = make_items([recording], {f"p{row:03d}": row for row in range(100)}, "single")
store = VoxelStore([recording], preprocessor, budget=0)
targets = {"pooled": torch.randn(100, 32)}
objective = BrainObjective(items, store, targets, LossConfig())
model = MLPEncoder({"01": recording.data.shape[1]}, {"pooled": [32]}, width=64, depth=1)
order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))
for rows in order[: 64 * steps].split(64):
    batch = {name: values[rows] for name, values in items.tensors().items()}
    objective(model, batch, torch.Generator().manual_seed(0), 0.0)["loss"].backward()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
anonymous = int(status["RssAnon"].split()[0]) / 1024
print(f"{anonymous:.0f}")
"""


def memory(options: argparse.Namespace) -> None:
    """Print the memory of a training that reads its trials from the map, by their number.

    Pages of the map belong to the system, which takes them back: they are not counted.
    """
    n_voxels = options.voxels // 10
    for n_trials in (1_000, 100_000 // (10 if options.quick else 1)):
        with TemporaryDirectory() as name:
            made_up(Path(name), n_trials, n_voxels)
            found = subprocess.run(
                [sys.executable, "-c", MEMORY, str(Path(name) / "dataset"), "15"],
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            size = n_trials * n_voxels * 2 / 1e6
            print(f"{n_trials:>7,} trials, {size:5.0f} MB: {found.strip()} MB", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=["samples", "reading", "memory", "all"], default="all")
    parser.add_argument("--voxels", type=int, default=15_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--trials", type=int, default=8_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    jobs = {"samples": samples, "reading": reading, "memory": memory}
    for name in jobs if options.what == "all" else [options.what]:
        jobs[name](options)


if __name__ == "__main__":
    main()
