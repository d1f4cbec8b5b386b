"""Windows of time over trials, and what a linear decoder reads from each (MEG and EEG).

Every window has a decoder of its own, ridge in closed form, fitted on training trials of that
window alone: what is found in a window that ends at a time was there by that time. Noise is made
white over sensors, never over time, which would carry later samples into earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.errors import InputError, UsageError
from phosphene.types import BrainEmbedding, Recording

__all__ = [
    "TimeWindow",
    "corrected_p",
    "decode_window",
    "time_windows",
    "two_way_table",
    "whitened",
]

Array = np.ndarray[Any, Any]
Kind = Literal["sliding", "growing"]
TOKEN_RANK = 48


@dataclass(frozen=True)
class TimeWindow:
    """Samples ``first`` to ``last`` (not included), as seconds after the picture's onset.

    Attributes
    ----------
    kind : {"sliding", "growing"}
    start, end : float
        Seconds; all that is in the window was recorded before ``end``.
    first, last : int
    """

    kind: Kind
    start: float
    end: float
    first: int
    last: int


def time_windows(
    tmin: float, sfreq: float, n_times: int, *, width: float = 0.1, hop: float = 0.05
) -> list[TimeWindow]:
    """Return sliding windows, then growing ones from the first sample on.

    Parameters
    ----------
    tmin, sfreq : float
        Seconds and hertz.
    n_times : int
        Samples of a trial.
    width, hop : float
        Of the sliding windows in seconds; growing ones get longer by ``hop``.

    Raises
    ------
    UsageError
        If no window of that width fits, or the hop is shorter than a sample.
    """
    size, step = round(width * sfreq), round(hop * sfreq)
    if not 1 <= size <= n_times or step < 1:
        raise UsageError(
            f"windows of {width:g} s every {hop:g} s",
            expected=f"a width from {1 / sfreq:g} to {n_times / sfreq:g} s, and a hop of at least "
            f"{1 / sfreq:g} s",
            remedy="give other values to --window and --hop",
        )

    def made(kind: Kind, first: int, last: int) -> TimeWindow:
        return TimeWindow(
            kind, round(tmin + first / sfreq, 6), round(tmin + last / sfreq, 6), first, last
        )

    sliding = [made("sliding", first, first + size) for first in range(0, n_times - size + 1, step)]
    ends = [*range(step, n_times, step), n_times]
    return sliding + [made("growing", 0, last) for last in ends]


def whitened(train: Recording, *others: Recording) -> tuple[Recording, ...]:
    """Return recordings with the noise of training trials made white over sensors.

    Parameters
    ----------
    train : Recording
        Single trials that are no test trials.
    others : Recording
        Of the same subject.
    """
    info = train.info
    if info is None:
        raise InputError(
            "a recording that does not say its rate and window",
            expected="EEG or MEG with described sensors",
            remedy="prepare the dataset from epochs, or describe the array beside it",
        )
    whole = (info.tmin, info.tmin + train.data.shape[2] / info.sfreq)
    fitted = SensorPreprocessor(train.modality, window=whole, whiten_time=False).fit(train)
    return tuple(fitted.transform(one) for one in (train, *others))


def decode_window(
    window: TimeWindow, train: Recording, targets: Tensor, test: Recording
) -> BrainEmbedding:
    """Return what the samples of a window say of test pictures.

    Parameters
    ----------
    window : TimeWindow
    train, test : Recording
        Averaged over repetitions or not, whitened.
    targets : Tensor of shape (n_train, ...)
    """
    tokens = targets.ndim > 2
    ridge = RidgeEncoder(rank=TOKEN_RANK if tokens else None)
    ridge.fit(_cut(train, window), targets)
    return ridge.encode(_cut(test, window))


def two_way_table(predicted: Array, truth: Array, pictures: Array) -> Array:
    """Return how often each picture's predictions prefer a candidate to the others.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, d)
    pictures : ndarray of shape (n,)
        Which picture each item is of.

    Returns
    -------
    ndarray of shape (n_pictures, n_pictures)
        Entry (i, j): mean over predictions of picture i of the share of other candidates that
        are less similar than j (ties count one half). The diagonal is two-way identification.
    """
    from scipy.stats import rankdata

    _, first, codes = np.unique(pictures, return_index=True, return_inverse=True)
    unit = [
        part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        for part in (predicted, truth[first])
    ]
    preferred = (rankdata(unit[0] @ unit[1].T, axis=1) - 1) / (len(first) - 1)
    table = np.zeros((len(first), len(first)))
    np.add.at(table, codes, preferred)
    return table / np.bincount(codes)[:, None]


def corrected_p(tables: Array, *, draws: int = 2000, seed: int = 0) -> Array:
    """Return p-values of windows, corrected over all of them by the largest of each permutation.

    Which picture is which is permuted, the same way in all windows; a window's p-value is how
    often the best of all windows of a permutation reaches its score (Westfall and Young 1993).

    Parameters
    ----------
    tables : ndarray of shape (n_windows, n_pictures, n_pictures)
        Of :func:`two_way_table`.

    Returns
    -------
    ndarray of shape (n_windows,)
    """
    n = tables.shape[1]
    generator, rows = np.random.default_rng(seed), np.arange(n)
    scores = tables[:, rows, rows].mean(axis=1)
    best = np.array(
        [tables[:, rows, generator.permutation(n)].mean(axis=1).max() for _ in range(draws)]
    )
    reached: Array = (1 + (best >= scores[:, None] - 1e-12).sum(axis=1)) / (1 + draws)
    return reached


def _cut(recording: Recording, window: TimeWindow) -> Recording:
    data = np.ascontiguousarray(recording.data[:, :, window.first : window.last])
    info = None if recording.info is None else replace(recording.info, tmin=window.start)
    return replace(recording, data=data, info=info)
