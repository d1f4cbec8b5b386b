"""Bars that cross the screen: a prior over whole sweeps, combined with what volumes say of them.

A sweep begins at any moment (the same small chance at every volume), in any of eight directions
(all equally likely), near the speed of training, and crosses the whole screen; another may follow
after any pause. Nothing is known of the order of directions, of the length of pauses or of when
the first sweep began. The sweeps behind a series of volumes are not searched for: the sum over all
successions of sweeps is exact (a hidden semi-Markov model), with one proviso: responses to a sweep
are taken to have died away when the one after the next begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.priors.bars import BarFrames

__all__ = ["MOTION_PRIOR", "MotionPosterior", "decode_sweeps"]

Array = np.ndarray[Any, Any]

MOTION_PRIOR = "bars cross the screen; 8 directions equally likely, unknown onset"
START = 0.05  # chance per volume that a sweep begins while none is on
SPEEDS = {3: 0.25, 4: 0.5, 5: 0.25}  # steps per volume, and how likely; 4 is the training's speed
PHASES = (0, 2)  # steps by which a sweep may already have moved on at its first volume
BEGIN, STAY = float(np.log(START)), float(np.log1p(-START))
NEGLIGIBLE = 1e-9


@dataclass(frozen=True, eq=False)
class MotionPosterior:
    """What is believed of a series of volumes.

    Attributes
    ----------
    frames : (n, n_frames) float64
        Probability of every bar frame at every volume; the rest is that of a blank screen.
    log_evidence : float
        Of the series, against a screen that stays blank.
    """

    frames: Array
    log_evidence: float

    @property
    def shown(self) -> Array:
        """Probability that a bar is on the screen (n,)."""
        total: Array = self.frames.sum(axis=1)
        return total


@dataclass(frozen=True, eq=False)
class _Sweep:
    """One way to cross the screen: frames of successive volumes, and what they leave in others."""

    frames: Array  # (duration,) int
    left: Array  # (duration + n_lags, k)
    log_prior: float

    @property
    def duration(self) -> int:
        return len(self.frames)


def decode_sweeps(observed: Array, kernel: Array, bars: BarFrames) -> MotionPosterior:
    """Return the posterior over frames of successive volumes.

    Parameters
    ----------
    observed : ndarray of shape (n, k)
        Volumes with the baseline taken away and noise of unit variance, independent over rows
        and columns. Bars may have been moving before the first.
    kernel : ndarray of shape (n_lags, n_frames, k)
        What each bar frame leaves in the volume so many rows later, in the same units.
    bars : BarFrames
    """
    sweeps = _sweeps(kernel, bars)
    lattice = _Lattice(np.asarray(observed, dtype=np.float64), sweeps, len(kernel))
    return lattice.posterior(len(bars.frames))


def _sweeps(kernel: Array, bars: BarFrames) -> list[_Sweep]:
    n_lags, _, k = kernel.shape
    found = []
    for first, stop in zip(bars.first[:-1], bars.first[1:], strict=True):
        for steps, chance in SPEEDS.items():
            for phase in PHASES:
                places = np.arange(first + phase, stop, steps)
                for frames in (places, (first + stop - 1) - places):
                    left = np.zeros((len(frames) + n_lags, k))
                    for row, frame in enumerate(frames):
                        left[row : row + n_lags] += kernel[:, frame]
                    found.append(_Sweep(frames, left, float(np.log(chance))))
    total = np.log(sum(np.exp(sweep.log_prior) for sweep in found))
    return [_Sweep(one.frames, one.left, one.log_prior - total) for one in found]


class _Lattice:
    """Sums over all successions of sweeps, forwards and backwards in time.

    Column t of the tables is onset ``self.onsets[t]``. Only a pair of successive sweeps whose
    responses meet (a pause shorter than the response) has a term of its own; longer pauses are
    summed once for all pairs.
    """

    def __init__(self, observed: Array, sweeps: list[_Sweep], n_lags: int) -> None:
        self.n, self.sweeps, self.n_lags = len(observed), sweeps, n_lags
        self.longest = max(sweep.duration for sweep in sweeps)
        self.onsets = np.arange(-(self.longest + n_lags), self.n)
        self.durations = np.array([sweep.duration for sweep in sweeps])
        self.fit = np.array([self._fit(observed, sweep) for sweep in sweeps])
        n_rows = n_lags + 1
        # What a sweep that ended g volumes ago still leaves, and what a new one brings.
        self.tails = np.zeros((len(sweeps), n_lags, n_rows, observed.shape[1]), dtype=np.float32)
        self.heads = np.zeros((len(sweeps), n_rows, observed.shape[1]), dtype=np.float32)
        for number, sweep in enumerate(sweeps):
            for pause in range(n_lags):
                rest = sweep.left[sweep.duration + pause :]
                self.tails[number, pause, : len(rest)] = rest
            self.heads[number] = sweep.left[:n_rows]
        self.inner = self._pairs(0, n_rows)

    def _fit(self, observed: Array, sweep: _Sweep) -> Array:
        """Return log likelihood against blank, plus log prior, of every onset."""
        fit = np.empty(len(self.onsets))
        for number, onset in enumerate(self.onsets.tolist()):
            low, high = max(0, onset), min(self.n, onset + len(sweep.left))
            left = sweep.left[low - onset : high - onset]
            fit[number] = (left * (observed[low:high] - left / 2)).sum() if high > low else 0.0
        return fit + sweep.log_prior

    def _pairs(self, low: int, high: int) -> Array:
        """Return (n_sweeps, n_lags, n_sweeps): minus the inner product of tails and heads."""
        n_sweeps, n_lags = self.tails.shape[:2]
        tails = self.tails[:, :, low:high].reshape(n_sweeps * n_lags, -1)
        heads = self.heads[:, low:high].reshape(n_sweeps, -1)
        return -(tails @ heads.T).reshape(n_sweeps, n_lags, n_sweeps).astype(np.float64)

    def _meeting(self, onset: int) -> Array:
        """Return the terms of pairs whose second sweep begins here; only rows in view count."""
        low, high = max(0, -onset), min(self.n_lags + 1, self.n - onset)
        if (low, high) == (0, self.n_lags + 1):
            return self.inner
        if high <= low:
            return np.zeros_like(self.inner)
        return self._pairs(low, high)

    def posterior(self, n_frames: int) -> MotionPosterior:
        """Return the probability of every frame at every volume."""
        forward, (backward, evidence) = self._forwards(), self._backwards()
        sure = np.exp(forward + backward - evidence)
        frames = np.zeros((self.n, n_frames))
        for number, sweep in enumerate(self.sweeps):
            for t in np.flatnonzero(sure[number] > NEGLIGIBLE):
                onset = int(self.onsets[t])
                low, high = max(0, onset), min(self.n, onset + sweep.duration)
                if high > low:
                    shown = sweep.frames[low - onset : high - onset]
                    frames[np.arange(low, high), shown] += sure[number, t]
        return MotionPosterior(frames, evidence)

    def _forwards(self) -> Array:
        """Return the log sum over all that may have come before, and the sweep itself."""
        n_sweeps, n_onsets = self.fit.shape
        table = np.full((n_sweeps, n_onsets), -np.inf)
        rest = 0.0  # blank so far, or so long after a sweep that nothing of it is left
        for t in range(n_onsets):
            before = t - self.durations[:, None] - np.arange(self.n_lags + 1)
            ended = np.take_along_axis(table, np.maximum(before, 0), axis=1)
            ended = np.where(before >= 0, ended, -np.inf) + STAY * np.arange(self.n_lags + 1)
            rest = float(np.logaddexp.reduce([rest + (STAY if t else 0.0), *ended[:, -1]]))
            met = self._meeting(int(self.onsets[t])) + ended[:, :-1, None]
            recent = np.logaddexp.reduce(met.reshape(-1, n_sweeps), axis=0)
            table[:, t] = self.fit[:, t] + BEGIN + np.logaddexp(rest, recent)
        return table

    def _backwards(self) -> tuple[Array, float]:
        """Return the log sum over all that may come after a sweep, and that of everything."""
        n_sweeps, n_onsets = self.fit.shape
        table = np.full((n_sweeps, n_onsets), -np.inf)
        later = np.zeros(n_onsets + 1)  # of all that may come while at rest
        for t in range(n_onsets - 1, -1, -1):
            ends = t + self.durations
            seen = np.clip(n_onsets - ends, 0, self.n_lags)  # pauses that end within view
            none = STAY * seen + later[np.minimum(ends + seen, n_onsets)]
            table[:, t] = np.logaddexp(table[:, t], none)
            whole = self.fit[:, t] + table[:, t]
            later[t] = np.logaddexp(BEGIN + np.logaddexp.reduce(whole), STAY + later[t + 1])
            met = np.logaddexp.reduce(self._meeting(int(self.onsets[t])) + whole, axis=2)
            met += BEGIN + STAY * np.arange(self.n_lags)
            before = t - self.durations[:, None] - np.arange(self.n_lags)
            which, pause = np.nonzero(before >= 0)
            place = before[which, pause]
            table[which, place] = np.logaddexp(table[which, place], met[which, pause])
        return table, float(later[0])
