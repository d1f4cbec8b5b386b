"""Video: seconds per clip and memory of a whole run, frames per second of the warp.

    python benchmarks/video.py --seconds 60 --seconds 600 [--batch-size 16]

The shortest run is also decoded clip by clip. Each length of run is measured in a process of its
own: what is decoded is noise of the right shape, since speed and memory do not depend on what was
seen. Beside the time of the warp stands its floor: for every frame the bytes of the picture and of
the flow that have to be read and written.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from phosphene.checkpoints.registry import default_model
from phosphene.data.movies.run import MovieRun
from phosphene.pipelines.generators.video.warping import warp_keyframes
from phosphene.pipelines.video.model import load_video_model
from phosphene.storage import load_array
from phosphene.trials import complete_trials
from phosphene.types import Recording


def whole_run(seconds: float, model_name: str, steps: int | None, batch: int) -> None:
    """Decode a made-up run and print seconds per clip and the peak of memory."""
    model = load_video_model(model_name, device="cpu")
    label = sorted(model.spaces)[0]
    tr, space = model.timing.tr, model.spaces[label]
    volumes = round((seconds + 16) / tr)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npy"
        grid = int(np.prod(space.grid_shape))
        out = np.lib.format.open_memmap(path, "w+", np.float32, (volumes, len(space.indices)))
        out[:] = np.random.default_rng(0).normal(100, 1, out.shape)
        del out
        data = load_array(path)
        recording = Recording(data, "fmri", label, complete_trials(None, volumes), space)
        run = MovieRun(recording, "noise", tr, onset=4.0, duration=seconds)
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start, busy, count = time.perf_counter(), time.process_time(), 0
        clips = model.clips(run)
        decoded = model.decode(run, clips)
        seeds = np.arange(len(clips))
        for conditions in model.conditions(
            decoded, seeds, batch_size=batch, num_inference_steps=steps
        ):
            draws = [torch.Generator() for _ in range(len(conditions))]
            count += len(model.generator.generate(conditions, generators=draws, fps=8.0))
        took, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"run of {seconds:g} s ({count} clips, {batch} at a time, {volumes} volumes of "
        f"{len(space.indices)} in a grid of {grid}): {took / count:.2f} s per clip, of the "
        f"processor {busy / count:.2f} s; peak {peak:.0f} MB, {peak - begun:.0f} MB above the "
        "loaded model",
        flush=True,
    )


def warp(size: int, frames: int = 16) -> None:
    """Print the frames per second of the warp beside its floor in bytes."""
    keyframes, flow = torch.rand(1, 3, size, size), torch.randn(1, 4, 2, 8, 8)
    warp_keyframes(keyframes, flow, seconds=2.0, n_frames=frames)
    start, count = time.process_time(), 0
    while time.process_time() - start < 2:
        warp_keyframes(keyframes, flow, seconds=2.0, n_frames=frames)
        count += frames
    rate = count / (time.process_time() - start)
    floor = size * size * (3 * 2 + 2) * 4
    print(
        f"warp at {size} px: {rate:.0f} frames per second of the processor; floor "
        f"{floor / 1e6:.2f} MB per frame, {rate * floor / 1e9:.2f} GB/s"
    )


def main() -> None:
    """Run every part, each length of run in its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, action="append")
    parser.add_argument("--model", default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    name = options.model or default_model("fmri-video")
    if options.one is not None:
        whole_run(options.one, name, options.steps, options.batch_size)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for size in (64, 256):
        warp(size)
    lengths = options.seconds or [60.0, 600.0]
    for seconds, batch in [(min(lengths), 1), *((one, options.batch_size) for one in lengths)]:
        command = [sys.executable, __file__, "--one", str(seconds), "--model", name]
        command += ["--batch-size", str(batch)]
        command += ["--steps", str(options.steps)] if options.steps else []
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
