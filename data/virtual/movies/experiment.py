"""Runs of movies: what is on the screen when, blood, noise, drift and gain of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.areas import VERSION
from phosphene.data.virtual.draws import entropy_of
from phosphene.data.virtual.experiment import SESSION_DRIFT, SESSION_GAIN
from phosphene.data.virtual.movies.subject import MOVIE_VERSION, STEP, blood_responses

if TYPE_CHECKING:
    from phosphene.data.virtual.movies.subject import MovieSubject

__all__ = ["BASELINE", "FIRST_VOLUME", "SimulatedRun", "simulate_run"]

Array = np.ndarray[Any, Any]

STILL = 12.0
"""Seconds for which the first frame stands still before the movie, and the last one after it."""
FIRST_VOLUME = 4.0
"""Seconds before the movie at which the first volume that is kept begins: blood has settled."""
BASELINE = 100.0
"""Percent: signals are percent of what a voxel has with a grey screen."""
STATE_SECONDS = 4.0
BLOOD_SECONDS = 32.0


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """One run.

    Attributes
    ----------
    bold : (n_volumes, V) float32
        Percent of the baseline.
    signal : (n_volumes, V) float32
        What it would be without noise, state, drift and gain.
    onset : float
        Seconds after the first volume at which the movie begins.
    gain : float
        Of the session.
    """

    bold: Array
    signal: Array
    onset: float
    gain: float


def simulate_run(subject: MovieSubject, neural: Array, *, seed: int, name: str) -> SimulatedRun:
    """Return the volumes of one showing of a movie.

    Parameters
    ----------
    subject : MovieSubject
    neural : (n_steps, V)
        From :meth:`MovieSubject.neural`.
    seed : int
    name : str
        Of the run: with the seed it keys noise, drift and gain.
    """
    generator = np.random.default_rng(
        entropy_of(
            "virtual-fmri movie noise",
            VERSION,
            MOVIE_VERSION,
            subject.label,
            subject.preset.name,
            f"{subject.tr:g}",
            seed,
            name,
        )
    )
    still = round(STILL / STEP)
    shown = np.concatenate(
        [np.repeat(neural[:1], still, axis=0), neural, np.repeat(neural[-1:], still, axis=0)]
    )
    seconds = len(neural) * STEP
    n_volumes = int((FIRST_VOLUME + seconds + STILL) / subject.tr)
    # Since the first frame came on, at the start of each volume.
    times = STILL - FIRST_VOLUME + np.arange(n_volumes) * subject.tr
    response = (subject.mean_response + shown).astype(np.float32)
    signal = _through_blood(response, subject.noise.hrf, times)
    noise = subject.noise
    steps = round(STATE_SECONDS / STEP)
    state = noise.sample_state(-(-len(shown) // steps), generator)
    state = np.repeat(state, steps, axis=0)[: len(shown)]
    bold = signal + _through_blood(state.astype(np.float32), noise.hrf, times)
    bold += noise.sample_series(n_volumes, generator)
    spread = np.hypot(noise.sd, subject.amplitude)
    gain = 1 + SESSION_GAIN * float(generator.standard_normal())
    ramp = np.linspace(-0.5, 0.5, n_volumes)[:, None]
    drift = SESSION_DRIFT * spread * generator.standard_normal(subject.n_voxels)
    bend = SESSION_DRIFT * spread * generator.standard_normal(subject.n_voxels)
    bold = BASELINE + gain * bold + ramp * drift + (6 * ramp**2 - 0.5) * bend
    return SimulatedRun(bold.astype(np.float32), signal + BASELINE, FIRST_VOLUME, gain)


def _through_blood(drive: Array, hrf: Array, times: Array) -> Array:
    """Return the blood's response (n_volumes, V) to a drive (n_steps, V) at some times.

    A volume between two steps reads the responses to the steps before it at its own lags.
    """
    n_steps, length = len(drive), round(BLOOD_SECONDS / STEP)
    last = np.floor(times / STEP + 1e-9).astype(int)  # the step that has begun at each volume
    out = np.zeros((len(times), drive.shape[1]), dtype=np.float32)
    lags = times - last * STEP - STEP / 2
    for number in np.unique(hrf):
        voxels = np.flatnonzero(hrf == number)
        weights = np.zeros((len(times), n_steps), dtype=np.float32)
        for row, (step, lag) in enumerate(zip(last, lags, strict=True)):
            response = blood_responses(round(float(lag), 6), length)[number]
            first = max(0, step - length + 1)
            stop = min(step, n_steps - 1)
            if stop >= first:
                weights[row, first : stop + 1] = response[step - stop : step - first + 1][::-1]
        out[:, voxels] = weights @ drive[:, voxels]
    return out
