"""Raw recordings of THINGS-EEG2: continuous data in pickled dictionaries, cut and whitened here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.conform import resample
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.data.things.forms import Part
from phosphene.data.things.stimulus_table import StimulusTable
from phosphene.data.things.whitening import Whitening
from phosphene.data.virtual.electric.sensors import THINGS_63
from phosphene.errors import InputError
from phosphene.progress import progress
from phosphene.sensors import SensorInfo, standard_name

__all__ = ["RATE", "WINDOW", "read_raw"]

Array = np.ndarray[Any, Any]

WINDOW = (-0.2, 1.0)  # seconds around a picture's onset; what comes before it is the baseline
RATE = 250.0
TARGET = 99999  # code of the catch pictures
FILES = {"train": "raw_eeg_training.npy", "test": "raw_eeg_test.npy"}


def read_raw(
    folder: Path,
    tables: dict[str, StimulusTable],
    *,
    channels: Sequence[str] | None = None,
    whiten: bool = True,
) -> dict[str, Part]:
    """Cut, baseline-correct, resample and whiten the sessions of a subject.

    Every session is whitened by the covariance of its own training trials, which serves its test
    trials too. No filter beyond the amplifier's, no rejection.

    Parameters
    ----------
    folder : Path
        With ``ses-01``, ``ses-02``, ...
    tables : dict
        Stimulus tables of ``train`` and ``test``.
    channels : sequence of str, optional
        In the order wanted; by default the 63 (in the usual order) that the recording has.
    whiten : bool
        False leaves volts.

    Returns
    -------
    dict of str to Part
        Pictures with the number of repetitions that all of them have; later ones are left out.

    Raises
    ------
    InputError
        If a file is damaged or malicious, a channel is missing, or a code names no picture.
    """
    sessions = sorted(path for path in folder.glob("ses-*") if path.is_dir())
    kept: dict[str, list[tuple[Array, Array, str]]] = {"train": [], "test": []}
    info: SensorInfo | None = None
    for session in progress(sessions, label="sessions"):
        cut = {
            split: _epochs(session / name, len(tables[split]), channels)
            for split, name in FILES.items()
            if (session / name).is_file()
        }
        if "train" not in cut:
            raise InputError(
                f"{session} has no {FILES['train']}",
                expected="training trials in every session, which whitening is fitted on",
                remedy="complete the download",
            )
        data, codes, found = cut["train"]
        if info is not None and found.hash != info.hash:
            raise InputError(
                f"{session} has {found.describe()}",
                expected=f"{info.describe()}, as the first session",
                remedy="check the download",
            )
        info = found
        whitening = Whitening.fit(data, codes) if whiten else None
        label = session.name.removeprefix("ses-")
        for split, (trials, shown, _) in cut.items():
            done = whitening.apply(trials) if whitening is not None else trials
            kept[split].append((done, shown, label))
    if info is None:
        raise InputError(f"{folder} has no session", expected="ses-01, ses-02, ...")
    unit = "whitened" if whiten else "V"
    info = SensorInfo(info.ch_names, info.sfreq, info.tmin, unit=unit)
    return {
        split: _by_picture(parts, len(tables[split]), info, folder, split)
        for split, parts in kept.items()
        if parts
    }


def _epochs(
    path: Path, n_pictures: int, channels: Sequence[str] | None
) -> tuple[Array, Array, SensorInfo]:
    """Return trials (n, C, n_times) from 0 s on, the row of each one's picture, and sensors."""
    content = load_plain_pickle(path)
    if not isinstance(content, dict) or not {"raw_eeg_data", "ch_names", "sfreq"} <= set(content):
        raise InputError(
            f"{path} is no raw recording of THINGS-EEG2",
            expected="a dictionary with raw_eeg_data, ch_names and sfreq",
            remedy="copy it again from OSF crxs4",
        )
    data, rate = np.asarray(content["raw_eeg_data"]), float(content["sfreq"])
    names = [str(name) for name in content["ch_names"]]
    if data.ndim != 2 or len(data) != len(names):
        raise InputError(
            f"{path} holds data of shape {data.shape} and {len(names)} channel names",
            expected="(channels, samples), a name per channel, triggers last",
            remedy="copy it again from OSF crxs4",
        )
    places = {standard_name(name): index for index, name in enumerate(names[:-1])}
    wanted = list(channels) if channels is not None else [
        name for name in THINGS_63 if standard_name(name) in places
    ]  # fmt: skip
    absent = [name for name in wanted if standard_name(name) not in places]
    if absent or not wanted:
        raise InputError(
            f"{path} has no channel {', '.join(absent) or 'of the 63 that are known'}",
            expected=f"among others {', '.join(wanted[:5])}",
            remedy="check the download, or choose other channels",
        )
    trigger = data[-1]
    starts = np.flatnonzero((trigger[1:] != 0) & (trigger[:-1] != trigger[1:])) + 1
    if trigger[0] != 0:
        starts = np.r_[0, starts]
    codes = trigger[starts].astype(np.int64)
    shown = codes != TARGET
    starts, codes = starts[shown], codes[shown]
    if not len(codes) or codes.min() < 1 or codes.max() > n_pictures:
        raise InputError(
            f"{path} has triggers from {codes.min() if len(codes) else 'none'} to "
            f"{codes.max() if len(codes) else 'none'}",
            expected=f"1 to {n_pictures}, the rows of the stimulus table (and {TARGET})",
            remedy="use the stimulus table of the same release",
        )
    before, after = round(WINDOW[0] * rate), round(WINDOW[1] * rate)
    inside = (starts + before >= 0) & (starts + after <= data.shape[1])
    starts, codes = starts[inside], codes[inside]
    signals = np.asarray(data[[places[standard_name(name)] for name in wanted]], dtype=np.float32)
    n_times = round((WINDOW[1] - 0) * RATE)
    out = np.empty((len(starts), len(wanted), n_times), dtype=np.float32)
    for row in range(0, len(starts), 512):
        block = np.stack([signals[:, at + before : at + after] for at in starts[row : row + 512]])
        block -= block[:, :, :-before].mean(axis=2, keepdims=True)
        if rate != RATE:
            block = resample(block, rate, RATE)
        out[row : row + 512] = block[:, :, -n_times:]
    return out, codes - 1, SensorInfo(tuple(wanted), RATE, 0.0)


def _by_picture(
    parts: list[tuple[Array, Array, str]],
    n_pictures: int,
    info: SensorInfo,
    folder: Path,
    split: str,
) -> Part:
    """Return trials by picture and repetition, repetitions in the order of sessions."""
    shown_all = np.concatenate([shown for _, shown, _ in parts])
    counts = np.bincount(shown_all, minlength=n_pictures)
    repetitions = int(np.min(counts))
    if repetitions == 0:
        raise InputError(
            f"{folder} never shows {int((counts == 0).sum())} of {n_pictures} {split} pictures",
            expected="every picture of the stimulus table at least once",
            remedy="complete the download: every session is needed",
        )
    first = parts[0][0]
    data = np.empty((n_pictures, repetitions, *first.shape[1:]), dtype=np.float16)
    sessions = np.empty((n_pictures, repetitions), dtype=object)
    filled = np.zeros(n_pictures, dtype=int)
    for trials, shown, label in parts:
        for trial, picture in zip(trials, shown, strict=True):
            if filled[picture] < repetitions:
                place = picture, filled[picture]
                data[place], sessions[place] = trial * _scale(info), label
                filled[picture] += 1
    if info.unit == "V":
        info = SensorInfo(info.ch_names, info.sfreq, info.tmin, unit="uV")
    return Part(data, info, sessions)


def _scale(info: SensorInfo) -> float:
    """Return what brings values near 1, where float16 is precise."""
    return 1e6 if info.unit == "V" else 1.0
