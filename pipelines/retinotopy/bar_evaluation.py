"""One split of a recording of bars: decoder, rivals and controls, all scored alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import UsageError
from phosphene.pipelines.retinotopy.bar_decoder import BarDecoder
from phosphene.pipelines.retinotopy.bar_recording import BarRecording
from phosphene.pipelines.retinotopy.clock import mirrored_clock, scheduled_clock
from phosphene.pipelines.retinotopy.frame_scores import FrameScores, score_frames
from phosphene.pipelines.retinotopy.ridge_frames import RidgeFrames

__all__ = [
    "MIRRORED",
    "MOVING",
    "RIDGE",
    "SCHEDULED",
    "SplitResult",
    "evaluate_split",
    "shift_values",
]

Array = np.ndarray[Any, Any]

MOVING = "receptive fields, motion prior"
INDEPENDENT = "receptive fields, no motion prior"
RIDGE = "ridge to pixels"
MEAN = "mean frame"
SCHEDULED = "clock: the schedule goes on (no brain)"
MIRRORED = "clock: mirrored in time (no brain)"
RESPONSE_SECONDS = 22.0
SHIFT_SECONDS = 20.0


@dataclass(frozen=True, eq=False)
class SplitResult:
    """What one split gave.

    Attributes
    ----------
    test : (n,) int
    decoded : (n, n_pixels) float64
        With the motion prior.
    scores : dict of str to FrameScores
        By method.
    shifted : list of FrameScores
        With the motion prior, of BOLD shifted in time against the frames.
    decoder : BarDecoder
    lag : int
        Of ridge.
    """

    test: Array
    decoded: Array
    scores: dict[str, FrameScores]
    shifted: list[FrameScores]
    decoder: BarDecoder
    lag: int


def shift_values(n: int, tr: float, count: int) -> list[int]:
    """Return shifts of a series by at least 20 s in either direction, evenly spread."""
    least = int(np.ceil(SHIFT_SECONDS / tr))
    possible = np.arange(least, n - least + 1)
    if not len(possible) or count < 1:
        return []
    places = np.unique(np.linspace(0, len(possible) - 1, min(count, len(possible))).round())
    return [int(possible[int(place)]) for place in places]


def evaluate_split(
    recording: BarRecording, train: Array, test: Array, shifts: Sequence[int] = ()
) -> SplitResult:
    """Learn from training volumes, decode the frames of the others, and score.

    Parameters
    ----------
    recording : BarRecording
    train, test : ndarray of int
        Numbers of volumes, increasing, without a common one.
    shifts : sequence of int
        Volumes by which BOLD is shifted (circularly) for the control.

    Raises
    ------
    UsageError
        If a volume is in both.
    """
    both = np.intersect1d(train, test)
    if len(both):
        raise UsageError(
            f"{len(both)} volumes are in training and test, volume {both[0]} for example",
            expected="ranges without a common volume",
            remedy="leave a gap of at least 8 volumes between them",
        )
    frames, bold = recording.frames, recording.bold
    decoder = BarDecoder.fit(bold[train], frames[train], train, recording.pixels, recording.tr)
    ridge = RidgeFrames.fit(bold, frames, train, recording.tr)
    pieces = np.split(test, np.flatnonzero(np.diff(test) != 1) + 1)
    moving, independent, ridged = [], [], []
    shown_moving, shown_independent = [], []
    shifted: list[list[tuple[Array, Array]]] = [[] for _ in shifts]
    for piece in pieces:
        rows = recording.beside(piece, train, RESPONSE_SECONDS)
        found = decoder.decode(bold[rows]).rows(piece - rows[0])
        moving.append(found.moving)
        independent.append(found.independent)
        shown_moving.append(found.moving_shown)
        shown_independent.append(found.independent_shown)
        ridged.append(ridge.predict(bold, piece, rows))
        for shift, store in zip(shifts, shifted, strict=True):
            other = decoder.decode_moving(np.roll(bold, shift, axis=0)[rows])
            store.append((other[0][piece - rows[0]], other[1][piece - rows[0]]))
    has_bar, true = recording.has_bar[test], frames[test]

    def scored(decoded: Array, shown: Array | None = None) -> FrameScores:
        return score_frames(decoded, shown, true, has_bar, recording.mark)

    design = frames, recording.has_bar, train, test
    scores = {
        MOVING: scored(np.concatenate(moving), np.concatenate(shown_moving)),
        INDEPENDENT: scored(np.concatenate(independent), np.concatenate(shown_independent)),
        RIDGE: scored(np.concatenate(ridged)),
        MEAN: scored(np.tile(frames[train].mean(axis=0), (len(test), 1))),
        SCHEDULED: scored(scheduled_clock(*design, decoder.bars)),
        MIRRORED: scored(mirrored_clock(*design)),
    }
    controls = [
        scored(*(np.concatenate(parts) for parts in zip(*store, strict=True))) for store in shifted
    ]
    return SplitResult(test, np.concatenate(moving), scores, controls, decoder, ridge.lag)
