"""``phosphene prepare things-meg``: epochs, CTF runs or pickles become one canonical dataset.

Hebart et al. (2023), ds004212: four people, twelve sessions. ``epochs``: the official
``preprocessed_P1-epo.fif``. ``bids``: ``sub-BIGMEG1_ses-01_task-main_run-01_meg.ds``, cut at the
triggers of the stimulus channel, since the onsets in the event tables are about 150 ms late.
``pickled``: dictionaries by concept and exemplar, as ATM circulates them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.filtering import BandPass
from phosphene.data.readers.damage import reading
from phosphene.data.readers.epochs import choose_channels, sensors_of
from phosphene.data.things.cutting import (
    Cut,
    Cutting,
    compact,
    whiten_sessions,
    without_test_concepts,
)
from phosphene.data.things.meg_pickled import PICKLES, read_pickled
from phosphene.data.things.meg_raw import read_runs
from phosphene.data.things.sample_attributes import CATCH, SampleAttributes, shown_table
from phosphene.data.things.writing import choose_subjects, write_cut
from phosphene.errors import InputError, check_option
from phosphene.names import require

__all__ = ["MEG_FORMS", "prepare_things_meg", "recognise_meg"]

Array = np.ndarray[Any, Any]
MEG_FORMS = ("bids", "epochs", "pickled")
LICENCE = "CC0"
EPOCHS = re.compile(r"preprocessed_P(\d+)-epo\.fif$", re.IGNORECASE)
RUN = re.compile(r"sub-(?:BIGMEG)?(\d+)_ses-(\w+?)_task-main_run-(\w+?)_meg\.(?:ds|fif)$")
BLOCK = 256


def prepare_things_meg(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    subjects: list[str] | None = None,
    form: str | None = None,
    validation: int = 200,
    seed: int = 0,
    average: bool = False,
    whiten: bool = True,
    band: BandPass | None = None,
    rate: float = 200.0,
    table: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> tuple[CanonicalDataset, list[str]]:
    """Read THINGS-MEG in the form that ``source`` holds and write a canonical dataset.

    Training trials of the 200 test concepts are left out, so that the test is zero-shot: of
    22,248 training pictures 19,848 stay. Catch trials are dropped.

    Parameters
    ----------
    source : path
        The dataset, or a folder with the files of one form.
    output : path
        A new folder, or a dataset to add subjects to.
    subjects : list of str, optional
        ``01`` to ``04`` (``P1`` and ``BIGMEG1`` do as well); all by default.
    form : {"bids", "epochs", "pickled"}, optional
        Where the source holds several; the official epochs by default.
    validation, seed : int
        Concepts held out of training, and of that draw.
    average : bool
        One row per picture.
    whiten : bool
        Per session, fitted on training trials; False leaves femtotesla.
    band : BandPass, optional
        Of the form ``bids``: 0.1 to 40 Hz by default, as in the official epochs.
    rate : float
        Of the form ``bids``, hertz.
    table : path, optional
        ``sample_attributes_P1.csv`` or the folder of these files.
    images : path, optional
        Folder of the pictures, copied into the dataset.

    Returns
    -------
    dataset : CanonicalDataset
    said : list of str
        What was found and done, in words.

    Raises
    ------
    InputError
        If files are missing, damaged or malicious, or do not fit one another.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "the folder of THINGS-MEG")
    kind, found = recognise_meg(folder, form)
    labels = choose_subjects(found, subjects, folder, _label)
    attributes = SampleAttributes(folder if table is None else Path(table))
    said = [f"form: {kind}"]
    cutting = Cutting((-0.1, 1.3), True, rate, -0.1, band or BandPass(0.1, 40.0))
    dataset: CanonicalDataset | None = None
    for label in labels:
        if kind == "pickled":
            cut = read_pickled(found[label][0], attributes, label, images)
        elif kind == "epochs":
            cut = _read_epochs(found[label][0], attributes, label)
        else:
            cut, told = read_runs(found[label], RUN, attributes, label, cutting)
            said += told
        cut, seen = without_test_concepts(cut)
        if seen:
            said.append(f"subject {label}: {seen} training trials of test concepts left out")
        if whiten and cut.info.unit != "whitened":
            cut = whiten_sessions(cut)
        dataset = write_cut(
            output, cut, label, "meg", validation=validation, seed=seed, average=average,
            images=images, name="things-meg", licence=LICENCE, source=f"things-meg ({kind})",
        )  # fmt: skip
    if dataset is None:
        raise InputError(f"{folder} has no subject", "files of P1 to P4")
    return dataset, said


def recognise_meg(source: Path, form: str | None = None) -> tuple[str, dict[str, list[Path]]]:
    """Return the form and the files of every subject.

    Raises
    ------
    InputError
        If there is none, or not the one that was asked for.
    """
    if form is not None:
        check_option("form", form, MEG_FORMS)
    found: dict[str, dict[str, list[Path]]] = {kind: {} for kind in MEG_FORMS}
    for path in sorted(source.rglob("*")):
        for kind, pattern in (("epochs", EPOCHS), ("bids", RUN)):
            match = pattern.search(path.name)
            if match:
                found[kind].setdefault(match[1].zfill(2), []).append(path)
        if path.name == PICKLES["train"]:
            number = re.search(r"(\d+)$", path.parent.name)
            label = number[1].zfill(2) if number else "01"
            found["pickled"].setdefault(label, []).append(path.parent)
    there = [kind for kind in ("epochs", "bids", "pickled") if found[kind]]
    if not there or (form is not None and form not in there):
        raise InputError(
            f"{source} holds " + (", ".join(there) if there else "no THINGS-MEG"),
            expected="preprocessed_P1-epo.fif, ...; or sub-BIGMEG1_ses-01_task-main_run-01_meg.ds, "
            f"...; or folders sub-01, ... with {PICKLES['train']}",
            remedy="name the folder of the dataset with --source",
        )
    kind = form or there[0]
    for label, paths in found[kind].items():
        if kind != "bids" and len(paths) > 1:
            raise InputError(
                f"{source} holds subject {label} twice: {paths[0]} and {paths[1]}",
                expected="one set of files per subject",
                remedy="name the folder of one of them with --source",
            )
    return kind, found[kind]


def _label(name: str) -> str:
    return re.sub(r"^(sub-)?(BIGMEG|P)?", "", name, flags=re.IGNORECASE).zfill(2)


def _read_epochs(path: Path, attributes: SampleAttributes, label: str) -> Cut:
    """Return the official epochs, catch trials left out, block by block into float16."""
    mne = require("mne", "eeg")
    with reading(path, "the official epochs of THINGS-MEG"):
        epochs = mne.read_epochs(path, preload=False, verbose="error")
    told = epochs.metadata
    if told is None or not {"trial_type", "image_path"} <= set(told.columns):
        told = attributes.of_subject(label)
    if len(told) != len(epochs):
        raise InputError(
            f"{path} has {len(epochs)} epochs, and its table {len(told)} trials",
            expected="one row per epoch",
            remedy=f"use sample_attributes_P{int(label)}.csv of the same release",
        )
    table = shown_table(told, str(path))
    catch = (table["split"] == CATCH).to_numpy()
    coded = np.asarray(epochs.events[:, 2]) == 999999
    if coded.any() and (coded != catch).any():
        raise InputError(
            f"{int((coded != catch).sum())} epochs of {path} are catch trials by their event and "
            "not by the table, or the other way round",
            expected="a table in the order of the epochs",
            remedy=f"use sample_attributes_P{int(label)}.csv of the same release",
        )
    kind, picks = choose_channels(epochs.info, "meg", str(path))
    info = sensors_of(epochs.info, picks, kind, tmin=float(epochs.tmin))
    rows = np.flatnonzero(~catch)
    data = np.empty((len(rows), len(picks), len(epochs.times)), dtype=np.float16)
    small = info
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        with reading(path, "the official epochs of THINGS-MEG"):
            block = epochs[part].get_data(picks=picks, verbose="error")
        data[start : start + BLOCK], small = compact(block, info)
    return Cut(data, small, table.iloc[rows].reset_index(drop=True))
