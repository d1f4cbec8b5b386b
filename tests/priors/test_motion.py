"""The sum over successions of sweeps equals their enumeration; the linear filter its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.priors import motion
from phosphene.priors.bars import BarFrames, measure_bars
from phosphene.priors.independent_frames import decode_independent
from phosphene.priors.motion import decode_sweeps

Array = np.ndarray[Any, Any]
LAGS, K, ROWS, FRAMES = 3, 2, 6, 5


def enumerate_successions(
    sweeps: list[motion._Sweep], onsets: Array, observed: Array
) -> tuple[float, Array]:
    """Return log evidence and frame probabilities by visiting every succession."""
    total, frames = 0.0, np.zeros((ROWS, FRAMES))

    def visit(t: int, seen: list[tuple[int, int]], log: float) -> None:
        nonlocal total
        left = np.zeros((ROWS, K))
        for onset, which in seen:
            for row, values in enumerate(sweeps[which].left, start=onset):
                if 0 <= row < ROWS:
                    left[row] += values
        fit = float((left * (observed - left / 2)).sum())
        chance = np.exp(log + motion.STAY * max(0, len(onsets) - t) + fit)
        total += chance
        for onset, which in seen:
            for row, frame in enumerate(sweeps[which].frames, start=onset):
                if 0 <= row < ROWS:
                    frames[row, frame] += chance
        for later in range(t, len(onsets)):
            for which, sweep in enumerate(sweeps):
                begun = log + motion.STAY * (later - t) + motion.BEGIN + sweep.log_prior
                visit(later + sweep.duration, [*seen, (int(onsets[later]), which)], begun)

    visit(0, [], 0.0)
    return float(np.log(total)), frames / total


def test_the_posterior_equals_enumeration() -> None:
    rng = np.random.default_rng(0)
    sweeps = []
    for duration in (4, 5):  # at least as long as a response: the proviso of the model
        left = np.r_[rng.normal(size=(duration + LAGS - 1, K)), np.zeros((1, K))]
        sweeps.append(motion._Sweep(np.arange(duration), left, float(np.log(0.5))))
    observed = 2 * rng.normal(size=(ROWS, K))
    lattice = motion._Lattice(observed, sweeps, LAGS)
    found = lattice.posterior(FRAMES)
    evidence, frames = enumerate_successions(sweeps, lattice.onsets, observed)
    assert found.log_evidence == pytest.approx(evidence, abs=1e-6)
    np.testing.assert_allclose(found.frames, frames, atol=1e-7)
    np.testing.assert_allclose(found.shown, frames.sum(axis=1), atol=1e-7)


def toy() -> tuple[BarFrames, Array]:
    """A screen of 8 x 6 pixels and its bars, each seen by three channels."""
    y, x = np.mgrid[:6, :8]
    pixels = np.c_[x.ravel() - 3.5, 2.5 - y.ravel()].astype(float)
    frames = np.zeros((12, 48))
    for row in range(8):
        frames[row + 2].reshape(6, 8)[:, row : row + 1] = 1
    bars = BarFrames.of(measure_bars(frames, pixels, np.arange(12)), pixels)
    return bars, pixels


def test_without_data_all_directions_are_alike() -> None:
    bars, _ = toy()
    kernel = np.zeros((3, len(bars.frames), 2))
    found = decode_sweeps(np.zeros((30, 2)), kernel, bars)
    assert found.log_evidence == pytest.approx(0, abs=1e-6)
    mean = (found.frames @ bars.frames)[15].reshape(6, 8)
    np.testing.assert_allclose(mean, mean[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(mean, mean[::-1], atol=1e-6)
    assert np.all(found.shown < 1)


def test_a_planted_sweep_is_found() -> None:
    bars, _ = toy()
    rng = np.random.default_rng(1)
    seen = bars.frames @ rng.normal(size=(48, 6))
    kernel = np.stack([0.2 * seen, seen, 0.5 * seen])
    places = np.arange(bars.first[0], bars.first[1], 4)
    observed = rng.normal(size=(26, 6)) * 0.3
    for row, frame in enumerate(places, start=9):
        for lag in range(3):
            if row + lag < 26:
                observed[row + lag] += kernel[lag, frame]
    found = decode_sweeps(observed, kernel, bars)
    np.testing.assert_array_equal(found.frames[9 + 2 : 9 + 6].argmax(axis=1), places[2:6])
    assert found.shown[:7].max() < 0.1
    assert found.shown[11:15].min() > 0.9


@pytest.mark.parametrize("n", [3, 70])
def test_the_filter_equals_its_formula(n: int) -> None:
    rng = np.random.default_rng(n)
    kernel, observed, shown = rng.normal(size=(3, 4, 2)), rng.normal(size=(n, 2)), 0.7
    size = shown / 4
    times = n + 2  # frames from two rows before the first volume on
    matrix = np.zeros((n, 2, times, 4))
    for row in range(n):
        for lag in range(3):
            matrix[row, :, row - lag + 2] = kernel[lag].T
    flat = matrix.reshape(n * 2, -1)
    covariance = size * flat @ flat.T + np.eye(n * 2)
    centred = (observed - size * kernel.sum(axis=(0, 1))).ravel()
    expected = size + size * flat.T @ np.linalg.solve(covariance, centred)
    expected = expected.reshape(times, 4)[2:]
    found = decode_independent(observed, kernel, shown)
    # Blocks of a long series see a response's length on either side, and not all of it.
    np.testing.assert_allclose(found, expected, atol=1e-9 if n < 32 else 0.03)


def test_bars_are_measured() -> None:
    y, x = np.mgrid[:30, :40]
    pixels = np.c_[(x.ravel() - 19.5) / 2, (14.5 - y.ravel()) / 2]
    frames = np.zeros((25, 1200))
    for row in range(20):
        frames[row + 3].reshape(30, 40)[:, 2 * row : 2 * row + 4] = 1
    found = measure_bars(frames, pixels, np.arange(25))
    assert found.width == pytest.approx(2, rel=0.05)
    assert found.speed == pytest.approx(1, rel=0.01)
    assert found.shown == pytest.approx(20 / 25)
    assert found.aperture.all()
    bars = BarFrames.of(found, pixels)
    middle = bars.frames[(bars.first[0] + bars.first[1]) // 2].reshape(30, 40)
    np.testing.assert_allclose(middle.sum(axis=1), 4, rtol=0.06)
    with pytest.raises(InputError, match="none of them moving"):
        measure_bars(np.zeros((5, 1200)), pixels, np.arange(5))
