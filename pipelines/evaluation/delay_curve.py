"""Decoding against the delay between movie and volumes, on segments that nothing was fitted to.

For every delay a ridge goes from one volume to what the clip shows, coarsely: its mean frame and
where it changes, both on a small grid. It learns on training segments and is judged on validation
segments; clips are the same for every delay. The best delay is where decoding is best, and that is
all it is: a response that lasts for seconds decodes at several delays. Whether it is better than
chance is told by what the same predictions reach where movie and volumes are shifted against each
other, further than the delays go.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.movies import MovieClips, MovieDataset, MovieRun
from phosphene.data.movies.standardising import standardised
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.storage import new_folder, write_json, write_text

__all__ = ["DelayCurve", "delay_curve", "parse_delays", "write_delay_curve"]

Array = np.ndarray[Any, Any]

SIDE = 8  # of the grid on which clips are compared
FRAMES = 4  # of a clip
SHORTEST = -4.0  # seconds; before the clip: nothing can be decoded but what lasts
LONGEST = 14.0
MEMORY = 8.0  # seconds beyond the delays by which movie and volumes are shifted at least
MOST_SHIFTS = 199
BLOCKS = 5  # stretches that are left out to choose the penalty where there is one segment


@dataclass(frozen=True, eq=False)
class DelayCurve:
    """How well clips are decoded from the volume that began so many seconds after them.

    Attributes
    ----------
    delays : (n,) float
        Seconds.
    correlation : (n,) float
        Of predicted and true values over clips, mean over values that vary.
    identification : (n,) float
        Two-way, chance .5, ties one half.
    tr : float
        Seconds.
    n_train, n_validation : int
        Clips.
    segments : tuple of str
        Of validation.
    p_value : float or None
        Of the highest correlation among those of shifted movies; None where segments are too short
        to be shifted.
    """

    delays: Array
    correlation: Array
    identification: Array
    tr: float
    n_train: int
    n_validation: int
    segments: tuple[str, ...]
    p_value: float | None = None

    @property
    def best(self) -> float:
        """Delay of the highest correlation."""
        return float(self.delays[int(np.argmax(self.correlation))])


def parse_delays(text: str | None, tr: float) -> Array:
    """Return delays of ``FIRST:LAST`` or ``FIRST:LAST:STEP`` (seconds), in steps of a TR.

    Raises
    ------
    UsageError
        If the text is of another form or names no delay.
    """
    try:
        parts = [SHORTEST, LONGEST] if text is None else [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    step = parts[2] if len(parts) == 3 else tr
    right = len(parts) in (2, 3) and bool(np.isfinite(parts).all())
    if not right or not step > 0 or parts[1] < parts[0]:
        raise UsageError(
            f"--delays is {text!r}",
            expected="FIRST:LAST or FIRST:LAST:STEP in seconds, such as 0:12",
        )
    first = np.ceil(parts[0] / step - 1e-9) * step if text is None else parts[0]
    return np.arange(int((parts[1] - first) / step + 1e-9) + 1) * step + first


def delay_curve(
    dataset: MovieDataset,
    subject: str,
    *,
    delays: str | None = None,
    length: float = 2.0,
) -> DelayCurve:
    """Return decoding against delay.

    Parameters
    ----------
    dataset : MovieDataset
        With the splits ``train`` and ``validation``; the test split is never read. Without a
        validation split the last quarter of training segments stands in.
    subject : str
    delays : str, optional
        See :func:`parse_delays`.
    length : float
        Seconds of a clip.

    Raises
    ------
    InputError
        If there are no segments to hold out, or no clip is there at every delay.
    """
    train, held_out = _segments(dataset, subject)
    tr = train[0].tr
    seconds = parse_delays(delays, tr)
    data = [_Segments(runs, dataset, seconds, length) for runs in (train, held_out)]
    correlation, identification, predictions = [], [], []
    for number in progress(range(len(seconds)), label="delays", total=len(seconds)):
        predictions.append(_ridge(data[0], data[1], number))
        r, found = _scores(predictions[-1], data[1].targets)
        correlation.append(r)
        identification.append(found)
    apart = int(np.ceil((np.ptp(seconds) + MEMORY) / length))
    return DelayCurve(
        seconds,
        np.array(correlation),
        np.array(identification),
        tr,
        len(data[0].targets),
        len(data[1].targets),
        tuple(dict.fromkeys(run.segment for run in held_out)),
        _shifted_p(predictions, data[1], max(correlation), apart),
    )


def _segments(dataset: MovieDataset, subject: str) -> tuple[list[MovieRun], list[MovieRun]]:
    runs = dataset.runs(subject, ["train", "validation"])
    split = {run.segment: run.recording.trials["split"].iloc[0] for run in runs}
    held_out = [name for name, part in split.items() if part == "validation"]
    others = [name for name, part in split.items() if part == "train"]
    if not held_out and len(others) > 1:
        held_out = others[-max(1, len(others) // 4) :]
    others = [name for name in others if name not in held_out]
    if not held_out or not others:
        raise InputError(
            f"{dataset.root} has {len(split)} segments of subject {subject} outside the test split",
            expected="at least one to train on and another one to hold out",
            remedy="mark whole segments as validation in the column split",
        )
    parts = tuple([run for run in runs if run.segment in names] for names in (others, held_out))
    if len({run.tr for run in runs}) > 1:
        raise InputError(f"runs of {dataset.root} have different TRs", "one", "prepare them apart")
    return parts[0], parts[1]


class _Segments:
    """Volumes of clips at every delay, repetitions averaged, and what the clips show."""

    def __init__(
        self, runs: Sequence[MovieRun], dataset: MovieDataset, delays: Array, length: float
    ) -> None:
        volumes: dict[str, list[Array]] = {}
        targets, labels = [], []
        named: dict[str, list[MovieRun]] = {}
        for run in runs:
            named.setdefault(run.segment, []).append(run)
        for segment, shown in named.items():
            cut = [
                [run.clips(length, delay=float(d), window=run.tr) for d in delays] for run in shown
            ]
            starts = _common([clips.start for one in cut for clips in one])
            if not len(starts):
                continue
            whole = [standardised(np.asarray(run.recording.data), run.tr) for run in shown]
            volumes[segment] = [
                np.mean(
                    [data[_rows(one[k], starts)] for data, one in zip(whole, cut, strict=True)],
                    axis=0,
                )
                for k in range(len(delays))
            ]
            at = np.isin(np.round(cut[0][0].start, 6), starts)
            targets.append(_shown(cut[0][0].select(at), dataset))
            labels += [segment] * len(starts)
        if not targets:
            raise InputError(
                f"no clip of {', '.join(named)} has a volume at every delay from {delays[0]:g} to "
                f"{delays[-1]:g} s",
                expected="runs that go on long enough before and after the movie",
                remedy="ask for fewer delays with --delays",
            )
        self.volumes = [
            np.concatenate([parts[k] for parts in volumes.values()]) for k in range(len(delays))
        ]
        self.targets = np.concatenate(targets)
        self.rows = [np.flatnonzero(np.array(labels) == name) for name in dict.fromkeys(labels)]
        one = len(set(labels)) == 1
        blocks = np.array_split(np.arange(len(labels)), BLOCKS)
        self.groups: list[Any] = (
            [k for k, block in enumerate(blocks) for _ in block] if one else labels
        )


def _common(starts: list[Array]) -> Array:
    found = np.round(starts[0], 6)
    for other in starts[1:]:
        found = np.intersect1d(found, np.round(other, 6))
    return found


def _rows(clips: MovieClips, starts: Array) -> Array:
    return np.asarray(clips.rows[np.isin(np.round(clips.start, 6), starts), 0])


def _shown(clips: MovieClips, dataset: MovieDataset) -> Array:
    """Return mean frame and mean change of every clip (n, 4 * SIDE ** 2), grey and colours."""
    movie = dataset.movie(clips.segment).open()
    out = []
    numbers = np.minimum(clips.frames(movie.fps, FRAMES), movie.n_frames - 1)
    for frames in movie.read_clips(list(numbers), SIDE):
        values = frames.astype(np.float64) / 255
        change = np.abs(np.diff(values, axis=0)).mean(axis=(0, 3))
        out.append(np.concatenate([values.mean(axis=0).ravel(), change.ravel()]))
    return np.array(out)


def _ridge(train: _Segments, held_out: _Segments, delay: int) -> Array:
    import torch

    from phosphene.encoders.brain.ridge import ALPHAS
    from phosphene.encoders.brain.ridge_solver import solve_ridge
    from phosphene.encoders.brain.ridge_spectrum import decompose

    spectrum = decompose(train.volumes[delay], dtype=torch.float64)
    unit = float(spectrum.eigenvalues.mean()) if len(spectrum.eigenvalues) else 1.0
    target = torch.as_tensor(train.targets)
    solution = solve_ridge(spectrum, target, [a * unit for a in ALPHAS], groups=train.groups)
    held = torch.as_tensor(held_out.volumes[delay], dtype=torch.float64)
    predicted: Array = solution.predict(held).numpy()
    return predicted


def _shifted_p(
    predictions: list[Array], held_out: _Segments, highest: float, apart: int
) -> float | None:
    """Return the share of shifts, this one counted, whose best delay is as good as that found."""
    last = min(map(len, held_out.rows)) - apart
    shifts = np.unique(np.linspace(apart, last, MOST_SHIFTS).astype(int)) if last >= apart else ()
    above = 0
    for shift in shifts:
        order = np.concatenate([np.roll(rows, shift) for rows in held_out.rows])
        shown = held_out.targets[order]
        above += max(_correlation(*_varying(one, shown)) for one in predictions) >= highest
    return (above + 1) / (len(shifts) + 1) if len(shifts) else None


def _varying(predicted: Array, true: Array) -> tuple[Array, Array]:
    """Return both without their means, in the columns in which the truth varies."""
    a, b = predicted - predicted.mean(axis=0), true - true.mean(axis=0)
    varies = b.std(axis=0) > 1e-9
    return a[:, varies], b[:, varies]


def _correlation(a: Array, b: Array) -> float:
    """Return the mean over columns."""
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    r = np.divide((a * b).sum(axis=0), size, out=np.zeros(len(size)), where=size > 0)
    return float(r.mean()) if r.size else 0.0


def _scores(predicted: Array, true: Array) -> tuple[float, float]:
    """Return mean correlation over values that vary, and two-way identification of clips."""
    a, b = _varying(predicted, true)
    r, scale = _correlation(a, b), b.std(axis=0)
    a, b = a / scale, b / scale
    norms = [np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (a, b)]
    alike = (a / norms[0]) @ (b / norms[1]).T
    own = np.diag(alike)[:, None]
    less = (alike < own - 1e-9).sum() + 0.5 * ((np.abs(alike - own) <= 1e-9).sum() - len(own))
    n = len(own)
    return r, float(less / (n * (n - 1))) if n > 1 else 0.5


def write_delay_curve(curve: DelayCurve, output: str | os.PathLike[str]) -> Path:
    """Write ``delay.tsv``, ``delay.json`` and ``delay.png``; returns the plot's path."""
    from phosphene.names import require

    matplotlib = require("matplotlib", "report")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = zip(curve.delays, curve.correlation, curve.identification, strict=True)
    lines = ["delay\tcorrelation\tidentification"]
    lines += [f"{delay:g}\t{r:.6f}\t{found:.6f}" for delay, r, found in columns]
    said = {
        "best_delay": curve.best,
        "p_value": curve.p_value,
        "tr": curve.tr,
        "validation_segments": list(curve.segments),
        "n_train": curve.n_train,
        "n_validation": curve.n_validation,
    }
    figure, axis = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axis.plot(curve.delays, curve.correlation, "o-", color="#1f5f99")
    axis.axvline(curve.best, color="#999999", linewidth=1)
    axis.axhline(0, color="#cccccc", linewidth=1)
    axis.set_xlabel("seconds from the start of a clip to the volume")
    axis.set_ylabel("correlation, validation clips")
    axis.set_title(f"best at {curve.best:g} s (TR {curve.tr:g} s)")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    with new_folder(output) as folder:
        write_text(folder / "delay.tsv", "\n".join(lines) + "\n")
        write_json(folder / "delay.json", said)
        figure.savefig(folder / "delay.png", dpi=120)
    pyplot.close(figure)
    return Path(output) / "delay.png"
