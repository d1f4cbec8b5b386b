"""A bank of rendered scenes with their signals: the prior of the posterior mean."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.scenes import render, sample_scenes
from phosphene.data.virtual.areas import VERSION
from phosphene.data.virtual.draws import entropy_of
from phosphene.data.virtual.early_vision import SIZE
from phosphene.data.virtual.ideal_observer import REPETITIONS, Observer, posterior_mean
from phosphene.data.virtual.linear_observer import LinearObserver
from phosphene.errors import UsageError
from phosphene.progress import progress
from phosphene.storage import load_array, new_folder, read_json, write_json

if TYPE_CHECKING:
    from phosphene.data.virtual.subject import VirtualSubject

__all__ = ["BANK_SEED", "SceneBank", "build_bank", "ideal_pixels", "shrink"]

Array = np.ndarray[Any, Any]

BANK_SEED = 90002
"""Seed of the bank's scenes; nothing else uses these scenes."""
PIXELS = 32
LEAST = 100_000
"""Scenes for scores that are quoted; a smaller bank is allowed and says so."""


@dataclass(frozen=True, eq=False)
class SceneBank:
    """Scenes of the default distribution with one subject's signals.

    Attributes
    ----------
    signal : (m, V) float16
        Percent signal change; memory-mapped.
    images : (m, 32, 32, 3) uint8
        Means of 2 x 2 pixels; memory-mapped.
    """

    signal: Array
    images: Array

    def __len__(self) -> int:
        return len(self.signal)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], subject: VirtualSubject) -> SceneBank:
        """Read a bank; one of another subject or scanner is an error."""
        root = Path(folder)
        made = read_json(root / "bank.json")
        wanted = _identity(subject)
        if {name: made.get(name) for name in wanted} != wanted:
            raise UsageError(
                f"{root} is a bank of {made}",
                expected=f"one of {wanted}",
                remedy="build a bank for this subject with --bank",
            )
        return cls(load_array(root / "signal.npy"), load_array(root / "images.npy"))


def _identity(subject: VirtualSubject) -> dict[str, str]:
    return {"version": VERSION, "subject": subject.label, "preset": subject.preset.name}


def shrink(images: Array) -> Array:
    """Return pictures (n, 64, 64, 3) as (n, 32, 32, 3) uint8 by means of 2 x 2 pixels."""
    n = len(images)
    mean = images.reshape(n, PIXELS, SIZE // PIXELS, PIXELS, SIZE // PIXELS, 3).mean(axis=(2, 4))
    rounded: Array = np.round(mean)
    return rounded.astype(np.uint8)


def build_bank(
    subject: VirtualSubject,
    count: int,
    folder: str | os.PathLike[str],
    *,
    threads: int | None = 2,
    block: int = 512,
) -> SceneBank:
    """Render scenes and write their signals and small pictures, block by block.

    Parameters
    ----------
    subject : VirtualSubject
    count : int
        Scenes; 100,000 for scores that are quoted, about half an hour on two cores.
    folder : path
        New folder.
    threads : int or None
        Of the renderer.
    block : int
        Scenes at a time.
    """
    if count < 2:
        raise UsageError(f"a bank of {count} scenes", expected=f"2 or more, best {LEAST:,}")
    with new_folder(folder) as root:
        signal = np.lib.format.open_memmap(
            root / "signal.npy", mode="w+", dtype=np.float16, shape=(count, subject.n_voxels)
        )
        images = np.lib.format.open_memmap(
            root / "images.npy", mode="w+", dtype=np.uint8, shape=(count, PIXELS, PIXELS, 3)
        )
        for start in progress(range(0, count, block), label="scene bank"):
            stop = min(start + block, count)
            scenes = sample_scenes(start, stop, seed=BANK_SEED)
            pictures = render(scenes, SIZE, threads=threads).images
            signal[start:stop] = subject.respond(scenes, pictures)
            images[start:stop] = shrink(pictures)
        signal.flush()
        images.flush()
        write_json(root / "bank.json", {**_identity(subject), "scenes": count, "seed": BANK_SEED})
    return SceneBank.load(folder, subject)


def ideal_pixels(
    subject: VirtualSubject,
    bank: SceneBank,
    signal: Array,
    images: Array,
    *,
    repetitions: tuple[int, ...] = REPETITIONS,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Return scores of ideal reconstructions of pixels, for each number of repetitions.

    Parameters
    ----------
    subject : VirtualSubject
    bank : SceneBank
        None of the presented pictures is in it.
    signal : (n, V)
        True signal of the presented pictures.
    images : (n, 64, 64, 3) uint8
    repetitions : tuple of int
    seed : int
        Of the noise of the presented trials.

    Returns
    -------
    list of dict
        Pixel correlation and root mean square error (grey levels) of the posterior mean and of
        the best linear estimate, with standard errors over pictures; the Monte-Carlo error of
        the posterior mean from the finite bank (grey levels), and the median number of scenes
        that carry its weight. Near 1 the bank is too sparse, and the posterior mean is a floor.
    """
    covariance = subject.noise.covariance()
    observer = Observer(covariance)
    linear = LinearObserver(bank.signal, bank.images)
    generator = np.random.default_rng(entropy_of("ideal pixels", VERSION, seed))
    truth = shrink(images).astype(np.float64).reshape(len(images), -1)
    scores = []
    for count in repetitions:
        noise = generator.standard_normal(signal.shape) @ observer.factor.T / np.sqrt(count)
        observed = subject.averaged_signal(signal, count) + noise
        gain = subject.averaged_gain(count)
        found = posterior_mean(observer, observed, bank.signal, bank.images, count, gain=gain)
        best = linear.estimate(observed, covariance, count, gain)
        scores.append(
            {
                "repetitions": count,
                "n_pictures": len(truth),
                "bank_scenes": len(bank),
                **_pixel_scores("posterior_mean", truth, found.mean.reshape(truth.shape)),
                "posterior_mean_monte_carlo_error": float(np.sqrt((found.error**2).mean())),
                "posterior_mean_effective_scenes": float(np.median(found.effective_scenes)),
                **_pixel_scores("best_linear", truth, best.reshape(truth.shape)),
            }
        )
    return scores


def _pixel_scores(name: str, truth: Array, guess: Array) -> dict[str, float]:
    """Return correlation and distance in grey levels, with standard errors over pictures."""
    correlation = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(truth, guess, strict=True)])
    distance = np.sqrt(((truth - guess) ** 2).mean(axis=1))
    return {
        f"{name}_pixel_correlation": float(correlation.mean()),
        f"{name}_pixel_correlation_error": _standard_error(correlation),
        f"{name}_pixel_rmse": float(distance.mean()),
        f"{name}_pixel_rmse_error": _standard_error(distance),
    }


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
