"""Cost of virtual fMRI subjects, and whether their scale is sane.

Run ``python benchmarks/virtual_fmri.py``. It prints seconds per 1,000 scenes of each step, the
smooth noise made in two ways with the multiplications each needs, the measured ratio of signal
to noise, and identification of test pictures by the ideal observer and by plain ridge onto
picture descriptors (square root of contrast energy, luminance and colour on 8 x 8 places), from
one session and from all, from three repetitions and from one. The penalty is chosen on training
trials. The descriptors and their weighting are one of several variants whose test scores have been
looked at (``docs/virtual_subjects.md`` gives the range), and they use the filters of the response
model: this checks the scale, it is no measure of a decoder.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from phosphene.data.scenes import render, sample_scenes
from phosphene.data.virtual import Simulation, VirtualSubject, ideal_identification
from phosphene.data.virtual.anatomy import smoothing_kernel
from phosphene.data.virtual.early_vision import channels
from phosphene.data.virtual.noise import SPATIAL_WIDTH

Array = np.ndarray[Any, Any]


def timed(name: str, count: int, start: float) -> None:
    seconds = time.perf_counter() - start
    print(f"{name:<34}{1000 * seconds / count:8.1f} s per 1,000")


def descriptors(images: Array) -> Array:
    """Return the square root of the channels on 8 x 8 places (n, 1408)."""
    parts = []
    for start in range(0, len(images), 200):
        maps = channels(images[start : start + 200])
        pooled = maps.reshape(len(maps), maps.shape[1], 8, 4, 8, 4).mean(axis=(3, 5))
        parts.append(np.sqrt(pooled).reshape(len(maps), -1))
    return np.concatenate(parts)


def ridge(x: Array, y: Array, x_test: Array) -> Array:
    """Predict by ridge; one penalty for all targets by closed-form leave-one-out."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = (x - x_mean).astype(np.float64), y - y_mean
    values, vectors = np.linalg.eigh(x @ x.T)
    values, rotated = np.maximum(values, 0), vectors.T @ y
    best = (np.inf, 1.0)
    for penalty in np.logspace(1, 7, 13):
        shrink = values / (values + penalty)
        leverage = (vectors**2 * shrink).sum(axis=1)
        left_out = (y - vectors @ (shrink[:, None] * rotated)) / (1 - leverage)[:, None]
        best = min(best, ((left_out**2).sum(), penalty))
    dual = vectors @ (rotated / (values + best[1])[:, None])
    return (x_test - x_mean) @ (x.T @ dual) + y_mean


def identified(guess: Array, truth: Array) -> float:
    """Return the share of pictures whose prediction correlates best with their own target."""
    guess, truth = guess - guess.mean(axis=0), truth - truth.mean(axis=0)
    guess /= np.linalg.norm(guess, axis=1, keepdims=True)
    truth = truth / np.linalg.norm(truth, axis=1, keepdims=True)
    return float(((guess @ truth.T).argmax(axis=1) == np.arange(len(guess))).mean())


def single_trials(simulation: Simulation) -> Array:
    """Return the first showing of each picture, standardised within its session."""
    first = np.empty((len(simulation.signal), simulation.betas.shape[1]), dtype=np.float32)
    trials = simulation.trials
    for rows in trials.groupby("session").indices.values():
        part = simulation.betas[rows]
        part = (part - part.mean(axis=0)) / part.std(axis=0)
        new = trials["repetition"].to_numpy()[rows] == 1
        first[trials["stimulus"].to_numpy()[rows[new]]] = part[new]
    return first


def measured_ratio(simulation: Simulation) -> float:
    """Return the median ratio of signal to noise, from the spread of repetitions."""
    trials, betas = simulation.trials, simulation.betas.copy()
    for rows in trials.groupby("session").indices.values():
        part = betas[rows]
        betas[rows] = (part - part.mean(axis=0)) / part.std(axis=0)
    count = int(trials["repetition"].max())
    order = np.argsort(trials["stimulus"].to_numpy(), kind="stable")
    noise = betas[order].reshape(-1, count, betas.shape[1]).var(axis=1, ddof=1).mean(axis=0)
    return float(np.median(np.sqrt(np.maximum(betas.var(axis=0) - noise, 0) / noise)))


def smooth_noise_two_ways(subject: VirtualSubject) -> None:
    """Spatially smooth noise by nodes 4 mm apart, and by smoothing every voxel with all others."""
    generator = np.random.default_rng(0)
    nodes = next(c.loadings for c in subject.noise.components if c.loadings is not None)
    positions = subject.anatomy.positions
    dense = smoothing_kernel(positions, positions, SPATIAL_WIDTH).astype(np.float32)
    seconds = {}
    for name, kernel in (("nodes", nodes), ("all voxels", dense)):
        start = time.perf_counter()
        for _ in range(5):
            generator.standard_normal((180, len(kernel)), dtype=np.float32) @ kernel
        seconds[name] = time.perf_counter() - start
        print(f"smooth noise by {name:<12}{kernel.size * 180 / 1e6:8.0f} million products per run")
    print(f"ratio all voxels / nodes: {seconds['all voxels'] / seconds['nodes']:.1f}")


def sanity(preset: str, images: tuple[Array, Array], signals: tuple[Array, Array]) -> None:
    """Print scores of the ideal observer and of plain ridge for one preset."""
    subject = VirtualSubject("01", preset=preset)
    train, test = (descriptors(part) for part in images)
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    _, _, axes = np.linalg.svd((train - mean) / spread, full_matrices=False)
    train, test = (((part - mean) / spread) @ axes[:100].T for part in (train, test))
    start = time.perf_counter()
    everything = subject.simulate(signals[0], repetitions=3, seed=12)
    timed(f"simulate trials, {preset}", len(everything.trials), start)
    shown = subject.simulate(signals[1], repetitions=3, seed=7)
    print(f"ratio of signal to noise: planned {np.median(subject.ncsnr):.3f}, ", end="")
    print(f"measured {measured_ratio(shown):.3f}")
    for score in ideal_identification(subject, signals[1]):
        print(
            f"ideal observer, {score.repetitions:2d} repetitions: top-1 {score.top1:.3f} of "
            f"{score.n_pictures} (chance {score.chance:.4f}), nearest d' {score.separation:.1f}"
        )
    one = subject.simulate(signals[0][:720], repetitions=1, seed=11, sessions=1).averaged()
    scale = train.std(axis=0) ** 0.5
    for name, betas in (("one session", one), ("all sessions", everything.averaged())):
        found = ridge(
            betas, train[: len(betas)], np.concatenate([shown.averaged(), single_trials(shown)])
        )
        half, target = len(found) // 2, test / scale
        scores = identified(found[:half] / scale, target), identified(found[half:] / scale, target)
        print(f"ridge, {name:<13}: 3 repetitions {scores[0]:.3f}, single trial {scores[1]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=3000, help="training pictures")
    parser.add_argument("--test", type=int, default=300)
    options = parser.parse_args()
    subject = VirtualSubject("01")
    print(f"{subject.n_voxels} voxels, response calibrated on {len(subject._calibration.signal)}")
    worlds = (
        sample_scenes(0, options.scenes, seed=4321),
        sample_scenes(0, options.test, split="test"),
    )
    start = time.perf_counter()
    images = tuple(render(scenes, 64, threads=2).images for scenes in worlds)
    timed("render", sum(map(len, worlds)), start)
    start = time.perf_counter()
    signals = tuple(subject.respond(*pair) for pair in zip(worlds, images, strict=True))
    timed("respond", sum(map(len, worlds)), start)
    smooth_noise_two_ways(subject)
    for preset in ("nsd-7t", "lab-3t", "independent"):
        sanity(preset, images, signals)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
