"""Several showings of one movie as one run: what the noise of a single showing hides comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from phosphene.data.movies.run import MovieRun
from phosphene.data.movies.standardising import standardised
from phosphene.errors import InputError

__all__ = ["average_runs", "showings"]

Array = np.ndarray[Any, Any]


def showings(runs: Sequence[MovieRun]) -> list[list[MovieRun]]:
    """Return the runs of each movie of a subject together, in the order of their first showing."""
    found: dict[tuple[str, str], list[MovieRun]] = {}
    for run in runs:
        found.setdefault((run.recording.subject, run.segment), []).append(run)
    return list(found.values())


def average_runs(runs: Sequence[MovieRun]) -> MovieRun:
    """Return the mean of several showings of one movie, volume by volume in seconds of the movie.

    Each run is rid of drift and brought to unit variance by itself first. Runs may begin at
    different seconds of the movie: the times are those of the first run that all others have, and
    where volumes of another run do not fall on them, those nearest are taken, at most half a TR
    away.

    Parameters
    ----------
    runs : sequence of MovieRun
        Of one subject, movie, TR and set of voxels. One alone is returned as it is.

    Returns
    -------
    MovieRun
        ``averaged`` says of how many.

    Raises
    ------
    InputError
        If the runs differ in more than noise, or share no time of the movie.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    for run in runs[1:]:
        _check_alike(first, run)
    rows = np.arange(len(first))
    for run in runs:
        there = _rows_at(run, first.times)
        rows = rows[(there[rows] >= 0) & (there[rows] < len(run))]
    if len(rows) < 2:
        raise InputError(
            f"{len(runs)} runs of {first.segment} share {len(rows)} moments of the movie",
            expected="showings of the same movie from its start",
            remedy="check the onsets of the runs",
        )
    total = np.zeros((len(rows), first.recording.data.shape[1]), dtype=np.float64)
    for run in runs:
        total += standardised(run.recording.data, run.tr)[_rows_at(run, first.times)[rows]]
    names = dict.fromkeys(str(run.recording.trials["run"].iloc[0]) for run in runs)
    trials = first.recording.trials.iloc[rows].reset_index(drop=True)
    recording = replace(
        first.recording,
        data=(total / len(runs)).astype(np.float32),
        trials=trials.assign(run="+".join(names), repetition=len(runs)),
    )
    onset = float(-first.times[rows[0]])
    return replace(first, recording=recording, onset=onset, averaged=len(runs))


def _rows_at(run: MovieRun, times: Array) -> Array:
    """Return which volume of a run began nearest to each second of the movie; may lie outside."""
    return np.floor((times + run.onset) / run.tr + 0.5 + 1e-6).astype(np.int64)


def _check_alike(first: MovieRun, other: MovieRun) -> None:
    """Refuse runs whose mean would be of different things."""
    lengths = [run.duration for run in (first, other) if run.duration is not None]
    same = (
        _identity(first) == _identity(other)
        and abs(first.tr - other.tr) <= 1e-3
        and max(lengths, default=0.0) - min(lengths, default=0.0) <= first.tr
    )
    if not same:
        raise InputError(
            f"{_described(other)} beside {_described(first)}",
            expected="showings of one movie to one subject, of one TR and the same voxels",
            remedy="average only such runs; resample the others",
        )


def _identity(run: MovieRun) -> tuple[str, str, int, str]:
    space = run.recording.space
    voxels = run.recording.data.shape[1]
    return run.recording.subject, run.segment, voxels, "" if space is None else space.hash


def _described(run: MovieRun) -> str:
    lasts = "" if run.duration is None else f", {run.duration:g} s"
    return (
        f"a run of {run.segment} (subject {run.recording.subject}, TR {run.tr:g} s, "
        f"{run.recording.data.shape[1]} voxels{lasts})"
    )
