"""Epochs that MNE has written (``_epo.fif``) as recordings, and what MNE files say of sensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.signals import check_signals
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.sensors import SensorInfo
from phosphene.trials import TRIAL_COLUMNS, complete_trials
from phosphene.types import Modality, Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "bids_labels",
    "choose_channels",
    "holds_epochs",
    "is_epochs",
    "read_epochs",
    "sensors_of",
]

Array = np.ndarray[Any, Any]
KIND = "a file of epochs of MNE (_epo.fif) or EEGLAB (.set)"
EPOCHS = re.compile(r"[-_]epo\.fif(\.gz)?$", re.IGNORECASE)
PICKED = {"eeg": ("eeg",), "meg": ("mag", "grad")}


def is_epochs(source: str) -> bool:
    """Whether the name is one that MNE gives to epochs."""
    return EPOCHS.search(source) is not None


def holds_epochs(source: str) -> bool:
    """Whether a file holds epochs, by its name or, for ``.fif`` and ``.set``, by its header.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    lower = source.lower()
    if is_epochs(source) or not lower.endswith((".fif", ".fif.gz", ".set")):
        return is_epochs(source)
    mne = require("mne", "eeg")
    file = existing_file(source, KIND)
    with reading(file, "a continuous EEG or MEG recording, or epochs"):
        try:
            mne.io.read_raw(file, preload=False, verbose="error")
        except (TypeError, ValueError) as error:  # what MNE says of epochs in a .set, in a .fif
            if "number of trials" not in str(error) and "No raw data" not in str(error):
                raise
            return True
    return False


def read_epochs(
    source: str,
    *,
    subject: str,
    modality: str | None = None,
    trials: pd.DataFrame | None = None,
) -> Recording:
    """Read epochs of MNE or EEGLAB.

    Parameters
    ----------
    source : str
        A ``.fif`` of MNE, by custom ending in ``_epo.fif``, or a ``.set`` of EEGLAB.
    subject : str
    modality : {"eeg", "meg"}, optional
        The channels to take where the file has both; by default those it has.
    trials : DataFrame, optional
        One row per epoch. By default the epochs' own metadata, and for ``stimulus_id`` the name
        of the event, which stands in the column ``event`` as well.

    Returns
    -------
    Recording
        ``data`` (n_trials, n_chans, n_times) float32 in volts or tesla, without bad channels.

    Raises
    ------
    InputError
        If the file is missing, damaged or without epochs, or a channel is flat or not finite.
    AssetError
        If MNE is not installed.
    """
    mne = require("mne", "eeg")
    file = existing_file(source, KIND)
    with reading(file, KIND):
        if source.lower().endswith(".set"):
            epochs = mne.read_epochs_eeglab(file, verbose="error")
        else:
            epochs = mne.read_epochs(file, preload=True, verbose="error")
        epochs.apply_proj(verbose="error")
    if len(epochs) == 0:
        raise InputError(
            f"{file} holds no epoch", expected="at least one", remedy="check how it was cut"
        )
    kind, picks = choose_channels(epochs.info, modality, str(file))
    data = epochs.get_data(picks=picks, copy=False).astype(np.float32)
    info = sensors_of(epochs.info, picks, kind, tmin=float(epochs.tmin))
    table = _trials_of(epochs, file) if trials is None else trials
    recording = Recording(data, kind, subject, complete_trials(table, len(data)), info=info)
    return check_signals(recording, str(file))


def choose_channels(info: Any, modality: str | None, source: str) -> tuple[Modality, list[int]]:
    """Return the modality and the good channels of it, in the file's order.

    Raises
    ------
    InputError
        If there is none, or both kinds and nothing says which.
    """
    mne = require("mne", "eeg")
    types = info.get_channel_types()
    counts = {kind: sum(t in names for t in types) for kind, names in PICKED.items()}
    present = [kind for kind, count in counts.items() if count]
    if modality in (None, "fmri"):
        if len(present) != 1:
            found = "both EEG and MEG channels" if present else "neither EEG nor MEG channels"
            raise InputError(
                f"{source} has {found}",
                expected="channels of one kind, or the modality to take",
                remedy="pass modality='eeg' or 'meg', or set the channel types in MNE "
                "(raw.set_channel_types)",
            )
        modality = present[0]
    if modality not in present:
        raise InputError(
            f"{source} has no {str(modality).upper()} channel (its types: "
            f"{', '.join(sorted(set(types)))})",
            expected=f"a recording of {str(modality).upper()}",
            remedy="choose the other modality, or set the channel types in MNE "
            "(raw.set_channel_types)",
        )
    kwargs = {"eeg": True, "meg": False} if modality == "eeg" else {"eeg": False, "meg": True}
    picks = mne.pick_types(info, **kwargs, ref_meg=False, exclude="bads")
    if len(picks) == 0:
        raise InputError(
            f"every {str(modality).upper()} channel of {source} is marked as bad",
            expected="at least one good channel",
            remedy="correct the list of bad channels (info['bads'])",
        )
    return cast(Modality, modality), [int(index) for index in picks]


def sensors_of(info: Any, picks: list[int], modality: str, *, tmin: float) -> SensorInfo:
    """Return names, positions, rate and reference of some channels of an MNE ``Info``.

    Positions are left out where a channel has none.
    """
    channels = [info["chs"][index] for index in picks]
    positions = np.array([channel["loc"][:3] for channel in channels], dtype=np.float64)
    known = np.isfinite(positions).all() and (np.abs(positions).sum(axis=1) > 0).all()
    device = info["dev_head_t"]
    if known and modality == "meg" and device is not None:
        rotation, shift = device["trans"][:3, :3], device["trans"][:3, 3]
        positions = positions @ rotation.T + shift
    return SensorInfo(
        tuple(channel["ch_name"] for channel in channels),
        float(info["sfreq"]),
        tmin,
        positions if known else None,
        "V" if modality == "eeg" else "T",
        _reference(info) if modality == "eeg" else "unknown",
    )


def _reference(info: Any) -> str:
    """Return ``average`` or an electrode where the file says so; MNE has no field for its name.

    A projector tells it, or the words ``reference: NAME`` in the file's description.
    """
    named = re.search(r"reference: ([A-Za-z0-9]+)", str(info["description"] or ""))
    if named:
        return named[1]
    projected = any("average" in str(p["desc"]).lower() and p["active"] for p in info["projs"])
    return "average" if projected else "unknown"


def bids_labels(path: Path) -> dict[str, str]:
    """Return session and run from a name such as ``sub-01_ses-02_task-x_run-03_eeg.vhdr``."""
    found = dict(re.findall(r"(?:^|_)(ses|run)-([A-Za-z0-9]+)", path.name))
    return {
        column: found[key] for column, key in (("session", "ses"), ("run", "run")) if key in found
    }


def _trials_of(epochs: Any, file: Path) -> pd.DataFrame:
    """Return metadata and event names as a trials table."""
    import pandas as pd

    names = {code: name for name, code in epochs.event_id.items()}
    table = pd.DataFrame({"event": [names[code] for code in epochs.events[:, 2]]})
    if epochs.metadata is not None:
        own = epochs.metadata.reset_index(drop=True)
        for column in own.columns:
            if column in TRIAL_COLUMNS or column not in table:
                table[column] = own[column]
    for column, label in bids_labels(file).items():
        if column not in table:
            table[column] = label
    if "stimulus_id" not in table and "stim_file" not in table:
        table["stimulus_id"] = table["event"]
    return table
