"""Which kind of recording an input is, told before it is read."""

from __future__ import annotations

import os
from pathlib import Path

from phosphene.data.readers.continuous import CONTINUOUS_SUFFIXES, find_continuous
from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.described import SensorsFile
from phosphene.data.readers.epochs import choose_channels
from phosphene.names import check_subject, require
from phosphene.sensors import UNITS
from phosphene.types import Modality

__all__ = ["input_modality"]

KIND = "EEG or MEG in a format of MNE"


def input_modality(source: str | os.PathLike[str], subject: str) -> Modality:
    """Return the modality that a file, or a folder in BIDS form, says of itself.

    Arrays that ``FILE.json`` describes are EEG or MEG by their unit; volumes, surfaces and
    arrays that nothing describes are fMRI. Nothing but headers is read.

    Parameters
    ----------
    source : path
    subject : str

    Raises
    ------
    InputError
        If the header is damaged, or a file has channels of both kinds.
    """
    name = os.fspath(source)
    if Path(name).is_dir():
        found = find_continuous(name, check_subject(subject))
        if not found:
            return "fmri"
        return "meg" if any(path.stem.endswith("_meg") for path in found) else "eeg"
    lower = name.lower()
    if lower.endswith((".fif", ".fif.gz")):
        path = existing_file(name, KIND)
        mne = require("mne", "eeg")
        with reading(path, KIND):
            info = mne.io.read_info(path, verbose="error")
        return choose_channels(info, None, name)[0]
    if lower.endswith(CONTINUOUS_SUFFIXES):
        return "eeg"
    head, separator, _ = name.rpartition(".npz:")
    beside = Path(f"{head}.npz" if separator else name).with_suffix(".json")
    if (lower.endswith(".npy") or ".npz" in lower) and beside.is_file():
        return "meg" if UNITS[SensorsFile.load(beside).unit][0] == "T" else "eeg"
    return "fmri"
