"""Continuous EEG and MEG with events, cut into epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.channels import describe_channels, refuse_doubles
from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.epochs import bids_labels, choose_channels, sensors_of
from phosphene.data.readers.signals import check_signals
from phosphene.data.readers.tables import read_trials
from phosphene.errors import InputError, UsageError
from phosphene.names import require
from phosphene.trials import UNKNOWN, complete_trials
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTINUOUS_SUFFIXES", "find_continuous", "read_continuous"]

Array = np.ndarray[Any, Any]
CONTINUOUS_SUFFIXES = (".fif", ".fif.gz", ".edf", ".bdf", ".vhdr", ".set")
KIND = "a continuous EEG or MEG recording (.fif, .edf, .bdf, .vhdr, .set)"
NOT_EVENTS = ("bad", "edge", "new segment", "boundary")  # as MNE, BrainVision, EEGLAB write
BIDS_SUFFIXES = ("eeg", "meg")


def find_continuous(folder: str, subject: str, modality: str | None = None) -> list[Path]:
    """Return the raw files of a subject in a BIDS folder, sessions and runs in order.

    Returns
    -------
    list of Path
        Empty where the folder has none; MEG in folders (``.ds``) is left to MNE's own tools.
    """
    kinds = BIDS_SUFFIXES if modality in (None, "fmri") else (modality,)
    found = [
        path
        for kind in kinds
        for suffix in CONTINUOUS_SUFFIXES
        for path in Path(folder).rglob(f"*_{kind}{suffix}")
        if path.name.startswith(f"sub-{subject}_") and path.is_file()
    ]
    return sorted(set(found))


def read_continuous(
    sources: list[Path],
    *,
    subject: str,
    window: tuple[float, float],
    modality: str | None = None,
    trials: pd.DataFrame | None = None,
) -> Recording:
    """Cut the trials out of continuous recordings.

    Parameters
    ----------
    sources : list of Path
        Files of one subject, taken one after the other.
    subject : str
    window : (float, float)
        First and last time of a trial relative to its event, in seconds.
    modality : {"eeg", "meg"}, optional
    trials : DataFrame, optional
        With a column ``onset`` in seconds of the recording; one file only. Without it, events
        come from the BIDS table beside the file, else from its annotations, else from its
        stimulus channel.

    Returns
    -------
    Recording
        ``data`` (n_trials, n_chans, n_times) float32, at the recording's own rate.

    Raises
    ------
    InputError
        If a file is damaged, has no event, or a trial's window lies outside it.
    """
    import pandas as pd

    if window[1] <= window[0]:
        raise UsageError(f"a window from {window[0]:g} to {window[1]:g} s", "start before end")
    if trials is not None and len(sources) > 1:
        raise UsageError(
            f"one trials table for {len(sources)} files",
            expected="a table of events beside each file, as in BIDS",
        )
    parts = [_read_one(path, subject, window, modality, trials) for path in sources]
    first = parts[0]
    for path, part in zip(sources, parts, strict=True):
        if part.info is None or first.info is None or part.info.hash != first.info.hash:
            raise InputError(
                f"{path} has {part.info.describe() if part.info else 'no channel'}",
                expected=f"{first.info.describe() if first.info else 'channels'}, as {sources[0]}",
                remedy="bring the files to one rate and one set of channels, or read them apart",
            )
    if len(parts) == 1:
        return first
    table = pd.concat([part.trials.drop(columns="trial") for part in parts], ignore_index=True)
    if table["stimulus_id"].ne(UNKNOWN).any():
        table["repetition"] = table.groupby("stimulus_id").cumcount() + 1
    data = np.concatenate([part.data for part in parts])
    return Recording(
        data, first.modality, subject, complete_trials(table, len(data)), info=first.info
    )


def _read_one(
    path: Path,
    subject: str,
    window: tuple[float, float],
    modality: str | None,
    trials: pd.DataFrame | None,
) -> Recording:
    mne = require("mne", "eeg")
    existing_file(path, KIND)
    with reading(path, KIND):
        raw = mne.io.read_raw(path, preload=False, verbose="error")
    describe_channels(raw, path)
    kind, picks = choose_channels(raw.info, modality, str(path))
    refuse_doubles([raw.ch_names[index] for index in picks], str(path))
    table = _events_of(raw, path) if trials is None else trials
    if "onset" not in table:
        raise InputError(
            f"the trials of {path} have no column onset",
            expected="the onset of every trial in seconds of the recording",
            remedy="add that column, or cut the recording into epochs with MNE",
        )
    if len(table) == 0:
        raise InputError(
            f"{path} has no event",
            expected="events as annotations, on a stimulus channel, or in an _events.tsv beside it",
            remedy="give a table with the column onset by --trials",
        )
    rate = float(raw.info["sfreq"])
    first = np.round(_seconds(table, path) * rate).astype(int)
    offset = int(np.round(window[0] * rate))
    n_times = int(np.round((window[1] - window[0]) * rate)) + 1
    starts = first + offset
    outside = np.flatnonzero((starts < 0) | (starts + n_times > raw.n_times))
    if outside.size:
        raise InputError(
            f"{outside.size} of {len(table)} trials of {path} reach beyond the recording, the "
            f"first being at {table['onset'].iloc[outside[0]]:g} s",
            expected=f"{window[0]:g} to {window[1]:g} s around every event, within "
            f"{raw.n_times / rate:g} s",
            remedy="leave those events out, or use a shorter window",
        )
    data = np.empty((len(table), len(picks), n_times), dtype=np.float32)
    with reading(path, KIND):
        for row, start in enumerate(starts):
            data[row] = raw.get_data(picks=picks, start=start, stop=start + n_times)
    info = sensors_of(raw.info, picks, kind, tmin=offset / rate)
    labelled = table.assign(**{k: v for k, v in bids_labels(path).items() if k not in table})
    recording = Recording(data, kind, subject, complete_trials(labelled, len(data)), info=info)
    return check_signals(recording, str(path))


def _seconds(table: pd.DataFrame, path: Path) -> Array:
    """Return onsets in seconds."""
    import pandas as pd

    found = pd.to_numeric(table["onset"], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if wrong.size:
        raise InputError(
            f"the onset of {wrong.size} of {len(table)} trials of {path} is no number, that of row "
            f"{wrong[0]} is {table['onset'].iloc[wrong[0]]!r}",
            expected="seconds of the recording",
            remedy="correct these rows, or leave them out",
        )
    return found


def _events_of(raw: Any, path: Path) -> pd.DataFrame:
    """Return onset and stimulus_id of the events: BIDS table, annotations, stimulus channel."""
    import pandas as pd

    beside = _bids_events(path)
    if beside is not None:
        table = read_trials(beside)
        return table if "stimulus_id" in table or "stim_file" in table else _named(table)
    mne = require("mne", "eeg")
    rate = raw.info["sfreq"]
    texts = sorted(
        {
            str(text)
            for text in raw.annotations.description
            if not str(text).strip().lower().startswith(NOT_EVENTS)
        }
    )
    rows: list[tuple[float, str]] = []
    with reading(path, KIND):
        if texts:
            codes = {text: number for number, text in enumerate(texts, start=1)}
            events, _ = mne.events_from_annotations(
                raw, event_id=codes, regexp=None, verbose="error"
            )
            rows = [((at - raw.first_samp) / rate, texts[code - 1]) for at, _, code in events]
        elif "stim" in raw.get_channel_types():
            events = mne.find_events(raw, shortest_event=1, verbose="error")
            rows = [((at - raw.first_samp) / rate, str(code)) for at, _, code in events]
    table = pd.DataFrame(rows, columns=["onset", "event"])
    return table.assign(stimulus_id=table["event"].astype(str))


def _bids_events(path: Path) -> Path | None:
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    for suffix in BIDS_SUFFIXES:
        if stem.endswith(f"_{suffix}"):
            found = path.with_name(f"{stem.removesuffix(suffix)}events.tsv")
            return found if found.is_file() else None
    return None


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Give BIDS events without a stimulus the name of their type as one."""
    for column in ("trial_type", "value"):
        if column in table:
            return table.assign(event=table[column], stimulus_id=table[column].astype(str))
    return table
