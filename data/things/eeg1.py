"""``phosphene prepare things-eeg1``: BrainVision recordings in BIDS become a canonical dataset.

Grootswagers et al. (2022), ds003825: 50 people, 22,248 pictures once each and 200 test pictures
twelve times, ten a second. Onsets in the event tables are in milliseconds, where BIDS has
seconds; the spacing of the pictures tells which.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.filtering import BandPass
from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.epochs import choose_channels, sensors_of
from phosphene.data.things.cutting import (
    Cut,
    Cutting,
    cut_trials,
    whiten_sessions,
    without_test_concepts,
)
from phosphene.data.things.sample_attributes import picture_of
from phosphene.data.things.writing import write_cut
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17
from phosphene.errors import InputError, UsageError
from phosphene.names import require
from phosphene.progress import progress
from phosphene.sensors import standard_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["pick_names", "prepare_things_eeg1"]

Array = np.ndarray[Any, Any]
LICENCE = "CC0"
NAME = re.compile(r"sub-([A-Za-z0-9]+)_task-rsvp_eeg\.vhdr$")
KIND = "a recording of THINGS-EEG1 (_eeg.vhdr)"
SLOWEST = 5.0  # seconds between pictures; a median above it is one in milliseconds


def prepare_things_eeg1(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    subjects: list[str] | None = None,
    channels: str = "all",
    validation: int = 200,
    seed: int = 0,
    average: bool = False,
    whiten: bool = True,
    band: BandPass | None = None,
    rate: float = 250.0,
    images: str | os.PathLike[str] | None = None,
) -> tuple[CanonicalDataset, list[str]]:
    """Read THINGS-EEG1 and write a canonical dataset.

    Trials in which the participant had to press (targets) are dropped, and training trials of the
    200 test concepts left out, so that the test is zero-shot.

    Parameters
    ----------
    source : path
        The BIDS folder.
    output : path
        A new folder, or a dataset to add subjects to.
    subjects : list of str, optional
    channels : {"all", "17"}
        ``17`` keeps the occipital and parietal ones.
    validation, seed : int
        Concepts held out of training, and of that draw.
    average : bool
        One row per picture.
    whiten : bool
        Fitted on training trials; False leaves microvolts.
    band : BandPass, optional
        No filter beyond the amplifier's by default.
    rate : float
        Hertz.
    images : path, optional
        Folder of the pictures, copied into the dataset.

    Returns
    -------
    dataset : CanonicalDataset
    said : list of str

    Raises
    ------
    InputError
        If files are missing or damaged, or an event table does not fit its recording.
    """
    if channels not in ("all", "17"):
        raise UsageError(f"`channels` is {channels!r}", expected="all or 17")
    folder = Path(source)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*_eeg.vhdr")) if folder.is_dir() else []:
        match = NAME.search(path.name)
        if match:
            found.setdefault(match[1], path)
    labels = [name.removeprefix("sub-") for name in subjects] if subjects else sorted(found)
    absent = [label for label in labels if label not in found]
    if absent or not labels:
        raise InputError(
            f"{folder} has no recording of "
            + (f"subject {', '.join(absent)}" if absent else "THINGS-EEG1"),
            expected="sub-01/eeg/sub-01_task-rsvp_eeg.vhdr, ..., as in ds003825",
            remedy="name the BIDS folder with --source, or complete the download",
        )
    cutting = Cutting((-0.2, 1.0), True, rate, 0.0, band or BandPass())
    said: list[str] = []
    dataset: CanonicalDataset | None = None
    for label in progress(labels, label="subjects"):
        cut, told = _read(found[label], cutting, OCCIPITAL_17 if channels == "17" else None)
        cut, seen = without_test_concepts(cut)
        said += [f"subject {label}: {sentence}" for sentence in told]
        if seen:
            said.append(f"subject {label}: {seen} training trials of test concepts left out")
        if whiten:
            cut = whiten_sessions(cut)
        dataset = write_cut(
            output, cut, label, "eeg", validation=validation, seed=seed, average=average,
            images=images, name="things-eeg1", licence=LICENCE, source="things-eeg1",
        )  # fmt: skip
    assert dataset is not None
    return dataset, said


def pick_names(names: list[str], wanted: tuple[str, ...] | None, source: str) -> list[int]:
    """Return the places of channels by name; all of them without ``wanted``."""
    if wanted is None:
        return list(range(len(names)))
    places = {standard_name(name): index for index, name in enumerate(names)}
    absent = [name for name in wanted if standard_name(name) not in places]
    if absent:
        raise InputError(
            f"{source} has no channel {', '.join(absent)}",
            expected=f"the {len(wanted)} channels {', '.join(wanted[:4])}, ...",
            remedy="use --channels all, or complete the recording",
        )
    return [places[standard_name(name)] for name in wanted]


def _read(path: Path, cutting: Cutting, wanted: tuple[str, ...] | None) -> tuple[Cut, list[str]]:
    mne = require("mne", "eeg")
    table, onsets = _events(existing_file(
        path.with_name(path.name.replace("_eeg.vhdr", "_events.tsv")), "a table of events (.tsv)"
    ))  # fmt: skip
    with reading(path, KIND):
        raw = mne.io.read_raw_brainvision(path, preload=False, verbose="error")
    kind, picks = choose_channels(raw.info, "eeg", str(path))
    chosen = pick_names([raw.ch_names[pick] for pick in picks], wanted, str(path))
    picks = [picks[place] for place in chosen]
    targets = table.pop("target").to_numpy()
    said = [f"{int(targets.sum())} target trials dropped, {cutting.band.describe()}"]
    with reading(path, KIND):
        signal = raw.get_data(picks=picks, verbose="error")
    starts = np.round(onsets[~targets] * float(raw.info["sfreq"])).astype(int)
    data, info = cut_trials(
        signal, sensors_of(raw.info, picks, kind, tmin=0.0), starts, cutting, str(path)
    )
    return Cut(data, info, table[~targets].reset_index(drop=True)), said


def _events(path: Path) -> tuple[pd.DataFrame, Array]:
    """Return what each trial shows (and whether it is a target), and onsets in seconds."""
    import pandas as pd

    with reading(path, "a table of events (.tsv)"):
        told = pd.read_csv(path, sep="\t")
    named = next((column for column in ("stimname", "stim") if column in told), None)
    missing = [column for column in ("onset", "isteststim") if column not in told]
    if named is None or missing or len(told) == 0:
        lacking = missing + ([] if named else ["stimname"])
        raise InputError(
            f"{path} has " + (f"no column {', '.join(lacking)}" if lacking else "no event"),
            expected="onset, stimname, isteststim (and istarget), a row per picture",
            remedy="copy it again from ds003825",
        )
    onsets = np.asarray(pd.to_numeric(told["onset"], errors="coerce"), dtype=np.float64)
    if not np.isfinite(onsets).all():
        raise InputError(
            f"{path} has onsets that are no numbers",
            expected="milliseconds, or seconds",
            remedy="copy it again from ds003825",
        )
    if len(onsets) > 1 and np.median(np.diff(np.sort(onsets))) > SLOWEST:
        onsets = onsets / 1000
    shown = [picture_of(str(name)) for name in told[named]]
    target = told["istarget"].astype(int) == 1 if "istarget" in told else np.zeros(len(told), bool)
    return pd.DataFrame(
        {
            "session": "01",
            "run": "01",
            "stimulus_id": [stem for stem, _ in shown],
            "concept": [concept for _, concept in shown],
            "split": np.where(told["isteststim"].astype(int) == 1, "test", "train"),
            "target": np.asarray(target, bool),
        }
    ), onsets
