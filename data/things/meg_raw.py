"""CTF runs of THINGS-MEG, cut at the triggers of the stimulus channel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.data.readers.epochs import choose_channels, sensors_of
from phosphene.data.things.cutting import Cut, Cutting, compact, cut_trials
from phosphene.data.things.sample_attributes import CATCH, SampleAttributes, shown_table
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.progress import progress
from phosphene.sensors import SensorInfo

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_runs"]

Array = np.ndarray[Any, Any]
KIND = "a run of THINGS-MEG (_meg.ds)"
TRIGGER = "UPPT001"
ONSET, END = 64, 32  # codes of a picture's onset, and of the end of a run
MOST_MISMATCHES = 20  # per run; a known quirk of ds004212


def read_runs(
    paths: list[Path],
    pattern: re.Pattern[str],
    attributes: SampleAttributes,
    label: str,
    cutting: Cutting,
) -> tuple[Cut, list[str]]:
    """Cut all runs of a subject.

    Parameters
    ----------
    paths : list of Path
        Folders ``.ds`` (or files that MNE wrote of them).
    pattern : Pattern
        Finds session and run in a name, as groups 2 and 3.
    attributes : SampleAttributes
    label : str
    cutting : Cutting

    Returns
    -------
    cut : Cut
        Without catch trials.
    said : list of str

    Raises
    ------
    InputError
        If a run is damaged, its triggers do not fit the table, or runs have different sensors.
    """
    import pandas as pd

    told = attributes.of_subject(label)
    missing = [column for column in ("session_nr", "run_nr") if column not in told]
    if missing:
        raise InputError(
            f"the table of subject {label} has no column {', '.join(missing)}",
            expected="session_nr and run_nr, which say what a run shows",
            remedy="copy it again from sourcedata of ds004212",
        )
    blocks: list[Array] = []
    tables: list[pd.DataFrame] = []
    first: SensorInfo | None = None
    shifts, different = [], 0
    for path in progress(paths, label="runs"):
        match = pattern.search(path.name)
        assert match is not None
        number = [int(re.sub(r"\D", "", match[group])) for group in (2, 3)]
        rows = told[(told["session_nr"] == number[0]) & (told["run_nr"] == number[1])]
        table = shown_table(rows, f"the table for {path.name}")
        data, info, late, wrong = _one_run(path, rows, table, cutting)
        data, info = compact(data, info)
        if first is not None and info.hash != first.hash:
            raise InputError(
                f"{path} has {info.describe()}",
                expected=f"{first.describe()}, as {paths[0].name}",
                remedy="leave out channels that are bad in some runs only, or those runs",
            )
        first = first or info
        kept = (table["split"] != CATCH).to_numpy()
        blocks.append(data[kept])
        tables.append(table[kept])
        shifts += late
        different += wrong
    assert first is not None
    said = [f"subject {label}: {len(paths)} runs cut at {TRIGGER}, {cutting.band.describe()}"]
    if shifts:
        said.append(f"subject {label}: the event tables are {1000 * np.median(shifts):.0f} ms late")
    if different:
        said.append(f"subject {label}: {different} picture numbers of the event tables differ")
    return Cut(np.concatenate(blocks), first, pd.concat(tables, ignore_index=True)), said


def _one_run(
    path: Path, rows: pd.DataFrame, table: pd.DataFrame, cutting: Cutting
) -> tuple[Array, SensorInfo, list[float], int]:
    mne = require("mne", "eeg")
    with reading(path, KIND):
        raw = mne.io.read_raw(path, preload=False, verbose="error")
        if TRIGGER not in raw.ch_names:
            raise InputError(
                f"{path} has no channel {TRIGGER}",
                expected="the channel of the triggers, by which onsets are known",
                remedy="copy the run again; the event table alone is about 150 ms off",
            )
        events = mne.find_events(
            raw, stim_channel=TRIGGER, shortest_event=1, initial_event=True, verbose="error"
        )
    codes = events[:, 2]
    ended = len(codes) > 0 and codes[-1] == END
    onsets = events[:-1, 0] if ended else events[:, 0]
    wrong = sorted(set(codes[:-1] if ended else codes) - {ONSET})
    if wrong or len(onsets) != len(rows):
        raise InputError(
            f"{path} has {len(onsets)} triggers"
            + (f" with codes such as {wrong[0]}" if wrong else ""),
            expected=f"{len(rows)} of code {ONSET}, one per trial of the table, and at most one of "
            f"code {END} at the end",
            remedy="use run and table of one release",
        )
    starts = onsets - raw.first_samp
    late, different = _beside(path, rows, starts / float(raw.info["sfreq"]))
    kind, picks = choose_channels(raw.info, "meg", str(path))
    with reading(path, KIND):
        signal = raw.get_data(picks=picks, verbose="error")
    data, info = cut_trials(
        signal, sensors_of(raw.info, picks, kind, tmin=0.0), starts, cutting, str(path)
    )
    return data, info, late, different


def _beside(path: Path, rows: pd.DataFrame, onsets: Array) -> tuple[list[float], int]:
    """Return by how much the event table beside a run is late, and how many pictures differ."""
    import pandas as pd

    beside = path.with_name(re.sub(r"_meg\.\w+$", "_events.tsv", path.name))
    if not beside.is_file():
        return [], 0
    with reading(beside, "a table of events (.tsv)"):
        events = pd.read_csv(beside, sep="\t")
    if len(events) != len(rows):
        raise InputError(
            f"{beside} has {len(events)} events for {len(rows)} trials",
            expected="as many as the table of trials has",
            remedy="use run and table of one release",
        )
    late = list(np.asarray(events["onset"], float) - onsets) if "onset" in events else []
    if "value" not in events or "things_image_nr" not in rows:
        return late, 0
    different = int((events["value"].to_numpy() != rows["things_image_nr"].to_numpy()).sum())
    if different > MOST_MISMATCHES:
        raise InputError(
            f"{beside} and the table of trials name different pictures in {different} trials",
            expected=f"at most {MOST_MISMATCHES}, as in the published runs",
            remedy="use run and table of one release",
        )
    return late, different
