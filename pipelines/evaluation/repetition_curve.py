"""How a score falls with fewer repetitions, and how far it is from the best possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.brain_controls import fewer_repetitions, repetition_counts
from phosphene.pipelines.evaluation.control_table import Control
from phosphene.pipelines.metrics.intervals import bootstrap_interval
from phosphene.types import Recording

__all__ = ["repetition_curve"]

Array = np.ndarray[Any, Any]
Score = Callable[[Recording], Array]


def repetition_curve(
    recording: Recording,
    score: Score,
    *,
    counts: Sequence[int] | None = None,
    draws: int = 1,
    seed: int = 0,
) -> list[Control]:
    """Return what is left of a score when fewer repetitions are averaged.

    Parameters
    ----------
    recording : Recording
        Single trials, pictures shown repeatedly.
    score : callable
        Takes a recording with one row per picture, in the order of their first trials, and
        returns a score per row.
    counts : sequence of int, optional
        1, 2, 4, ... and all by default. Pictures with fewer repetitions than the largest are
        left out of every point, so that all points are of the same pictures.
    draws : int
        Random choices of repetitions whose scores are averaged.
    """
    shown = recording.trials["stimulus_id"].value_counts()
    wanted = sorted(counts or {*repetition_counts(recording), int(shown.min())})
    if not wanted or wanted[0] < 1 or draws < 1:
        raise UsageError(f"{wanted} repetitions, {draws} draws", "at least 1 of each")
    kept = set(shown.index[shown >= wanted[-1]])
    names = [name for name in dict.fromkeys(recording.trials["stimulus_id"]) if name in kept]
    if not names:
        raise InputError(
            f"no picture was shown {wanted[-1]} times", f"at most {int(shown.max())} repetitions"
        )
    rows = []
    for count in wanted:
        chosen = [
            fewer_repetitions(recording, names, count, seed=seed + draw) for draw in range(draws)
        ]
        scores = np.mean([score(one) for one in chosen], axis=0)
        interval = bootstrap_interval(scores) if len(names) > 1 else None
        note = f"{draws} random choice{'s' if draws > 1 else ''} of {count}"
        rows.append(
            Control(f"repetitions_{count}", float(scores.mean()), interval, None, len(names), note)
        )
    return rows
