"""Trials out of continuous recordings, and trials with what they show as one recording.

Everything that reads a public set of pictures ends here: rows go picture by picture, training
before test, repetition by repetition; whitening learns from training trials, session by session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.conform import resample
from phosphene.data.filtering import NO_FILTER, BandPass, filter_signal
from phosphene.data.things.whitening import Whitening
from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Modality, Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Cut",
    "Cutting",
    "compact",
    "cut_trials",
    "to_recording",
    "whiten_sessions",
    "without_test_concepts",
]

Array = np.ndarray[Any, Any]
BLOCK = 512
ORDER = {"train": 0, "validation": 0, "test": 1}
SMALL = {"V": ("uV", 1e6), "T": ("fT", 1e15)}  # what float16 has room for


@dataclass(frozen=True)
class Cutting:
    """How trials are cut.

    Parameters
    ----------
    window : (float, float)
        Seconds around the onset; the end is not included.
    baseline : bool
        Subtract the mean of what lies before the onset.
    rate : float, optional
        Hertz afterwards; the recording's own without it.
    keep_from : float
        Seconds: what lies before is dropped in the end.
    band : BandPass
        Filter of the continuous signal.
    """

    window: tuple[float, float] = (-0.2, 1.0)
    baseline: bool = True
    rate: float | None = 250.0
    keep_from: float = 0.0
    band: BandPass = NO_FILTER


@dataclass(frozen=True, eq=False)
class Cut:
    """Trials of one subject and what each shows.

    Attributes
    ----------
    data : ndarray of shape (n_trials, C, n_times)
    info : SensorInfo
    table : DataFrame
        ``session``, ``run``, ``stimulus_id``, ``concept`` and ``split`` (train or test) per row.
    """

    data: Array
    info: SensorInfo
    table: pd.DataFrame


def cut_trials(
    signal: Array, info: SensorInfo, starts: Array, cutting: Cutting, source: str
) -> tuple[Array, SensorInfo]:
    """Filter a continuous signal and cut the trials out of it.

    Parameters
    ----------
    signal : ndarray of shape (C, n_samples)
        In the unit of ``info``.
    info : SensorInfo
    starts : ndarray of shape (n_trials,), integer
        Sample of each onset.
    cutting : Cutting
    source : str
        For messages.

    Returns
    -------
    data : ndarray of shape (n_trials, C, n_times), float32
    info : SensorInfo
        With the rate and start that the trials have.

    Raises
    ------
    InputError
        If a trial reaches beyond the recording.
    """
    rate = cutting.rate or info.sfreq
    before, after = (round(edge * info.sfreq) for edge in cutting.window)
    outside = np.flatnonzero((starts + before < 0) | (starts + after > signal.shape[1]))
    if outside.size:
        raise InputError(
            f"{outside.size} of {len(starts)} trials of {source} reach beyond the recording, the "
            f"first with its onset at {starts[outside[0]] / info.sfreq:g} s",
            expected=f"{cutting.window[0]:g} to {cutting.window[1]:g} s around every onset, within "
            f"{signal.shape[1] / info.sfreq:g} s",
            remedy="check the unit of the onsets, and that the recording is complete",
        )
    smooth = filter_signal(signal, info.sfreq, cutting.band)
    first = round((cutting.keep_from - cutting.window[0]) * rate)
    blocks = []
    for row in range(0, len(starts), BLOCK):
        block = np.stack([smooth[:, at + before : at + after] for at in starts[row : row + BLOCK]])
        if cutting.baseline and before < 0:
            block = block - block[:, :, :-before].mean(axis=2, keepdims=True)
        blocks.append(_at_rate(block, info.sfreq, rate, cutting.band)[:, :, first:])
    n_times = round((cutting.window[1] - cutting.keep_from) * rate)
    data = np.concatenate(blocks)[:, :, :n_times].astype(np.float32, copy=False)
    found = SensorInfo(
        info.ch_names, rate, cutting.keep_from, info.positions, info.unit, info.reference
    )
    return data, found


def _at_rate(block: Array, sfreq: float, rate: float, band: BandPass) -> Array:
    if rate == sfreq:
        return block
    if not band.causal:
        return resample(block, sfreq, rate)
    step = sfreq / rate
    if step != round(step) or band.high is None or band.high >= rate / 2:
        raise UsageError(
            f"a causal way from {sfreq:g} to {rate:g} Hz behind {band.describe()}",
            expected=f"a rate that {sfreq:g} Hz is a multiple of, and a filter that ends below "
            "half of it",
            remedy="give --lowpass, or another --rate",
        )
    return block[:, :, :: round(step)]


def whiten_sessions(cut: Cut) -> Cut:
    """Return trials whitened by the noise of the training trials of their session.

    Raises
    ------
    InputError
        If a session has no training trial.
    """
    sessions, splits = cut.table["session"].to_numpy(), cut.table["split"].to_numpy()
    out = np.empty(cut.data.shape, dtype=np.float16)
    for session in dict.fromkeys(sessions):
        rows = np.flatnonzero(sessions == session)
        train = rows[splits[rows] == "train"]
        if not len(train):
            raise InputError(
                f"session {session} has no training trial",
                expected="training trials in every session, which whitening is fitted on",
                remedy="complete the download, or use --no-whitening",
            )
        scaled = np.asarray(cut.data[train], np.float32) * _scale(cut.info)
        whitening = Whitening.fit(scaled, cut.table["stimulus_id"].to_numpy()[train])
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            out[part] = whitening.apply(np.asarray(cut.data[part], np.float32) * _scale(cut.info))
    info = cut.info
    white = SensorInfo(info.ch_names, info.sfreq, info.tmin, info.positions, "whitened")
    return Cut(out, white, cut.table)


def _scale(info: SensorInfo) -> float:
    return SMALL[info.unit][1] if info.unit in SMALL else 1.0


def without_test_concepts(cut: Cut) -> tuple[Cut, int]:
    """Leave out training trials of concepts of the test; return how many there were.

    They would show in training what the zero-shot test asks for.
    """
    table = cut.table
    tested = set(table.loc[table["split"] == "test", "concept"])
    seen = (table["split"] == "train") & table["concept"].isin(tested)
    if not seen.any():
        return cut, 0
    rows = np.flatnonzero(~seen)
    kept = Cut(cut.data[rows], cut.info, table.iloc[rows].reset_index(drop=True))
    return kept, int(seen.sum())


def to_recording(
    cut: Cut, label: str, modality: Modality, *, held_out: set[str], average: bool = False
) -> Recording:
    """Return trials in canonical order, in float16.

    Parameters
    ----------
    cut : Cut
    label : str
        Of the subject.
    modality : {"eeg", "meg"}
    held_out : set of str
        Concepts whose training trials become validation trials.
    average : bool
        One row per picture, the mean of its repetitions.
    """
    import pandas as pd

    table = cut.table.reset_index(drop=True)
    validation = (table["split"] == "train") & table["concept"].isin(held_out)
    table["split"] = table["split"].mask(validation, "validation")
    place = pd.DataFrame(
        {"test": table["split"].map(ORDER), "concept": table["concept"], "id": table["stimulus_id"]}
    )
    order = place.sort_values(["test", "concept", "id"], kind="stable").index.to_numpy()
    table = table.loc[order].reset_index(drop=True)
    if average:
        table, data = _averaged(cut, table, order)
    else:
        table["repetition"] = table.groupby("stimulus_id").cumcount() + 1
        data = np.empty(cut.data.shape, dtype=np.float16)
        for start in range(0, len(order), BLOCK):
            data[start : start + BLOCK], _ = compact(
                cut.data[order[start : start + BLOCK]], cut.info
            )
    names = table["split"].where(table["split"] != "validation", "train")
    table["trial"] = [
        f"{name}-{number:06d}"
        for name, number in zip(names, names.groupby(names).cumcount(), strict=True)
    ]
    info = cut.info
    unit = SMALL[info.unit][0] if info.unit in SMALL else info.unit
    stored = SensorInfo(info.ch_names, info.sfreq, info.tmin, info.positions, unit, info.reference)
    return Recording(data, modality, label, complete_trials(table, len(data)), info=stored)


def compact(data: Array, info: SensorInfo) -> tuple[Array, SensorInfo]:
    """Return trials in float16, in a unit that it has room for.

    Raises
    ------
    InputError
        If a value is too large or not finite.
    """
    unit = SMALL[info.unit][0] if info.unit in SMALL else info.unit
    with np.errstate(over="ignore"):
        small = (np.asarray(data, np.float32) * _scale(info)).astype(np.float16)
    if not np.isfinite(small).all():
        raise InputError(
            "signals too large for float16, or not finite",
            expected=f"values within {np.finfo(np.float16).max:g} {unit}",
            remedy="filter the recording (--highpass), or leave bad channels out",
        )
    stored = SensorInfo(info.ch_names, info.sfreq, info.tmin, info.positions, unit, info.reference)
    return small, stored


def _averaged(cut: Cut, table: pd.DataFrame, order: Array) -> tuple[pd.DataFrame, Array]:
    groups = table.groupby("stimulus_id", sort=False)
    rows = groups.head(1).reset_index(drop=True)
    rows["repetition"] = groups.size().to_numpy()
    rows = rows.drop(columns=["session", "run"], errors="ignore")
    starts = np.r_[0, rows["repetition"].cumsum()[:-1]]
    data = np.empty((len(rows), *cut.data.shape[1:]), dtype=np.float16)
    for row, (start, count) in enumerate(zip(starts, rows["repetition"], strict=True)):
        shown = np.asarray(cut.data[order[start : start + count]], np.float32)
        data[row] = shown.mean(axis=0) * _scale(cut.info)
    return rows, data
