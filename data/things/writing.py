"""Write what was cut of one subject, with concepts held out of training; choose the subjects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.prepare import write_subject
from phosphene.data.things.cutting import Cut, to_recording
from phosphene.data.things.pictures_found import found_pictures
from phosphene.data.things.validation import SPLIT_FILE, choose_concepts
from phosphene.errors import InputError
from phosphene.types import Modality

__all__ = ["choose_subjects", "write_cut"]


def _label(name: str) -> str:
    return name.removeprefix("sub-")


def choose_subjects(
    found: Iterable[str],
    subjects: list[str] | None,
    folder: Path,
    label_of: Callable[[str], str] = _label,
) -> list[str]:
    """Return the labels that are asked for, all of those found by default.

    Parameters
    ----------
    found : iterable of str
        Labels of the subjects in the folder.
    subjects : list of str, optional
    folder : Path
        For the message.
    label_of : callable, optional
        Returns the label of a subject by the name that people give; takes ``sub-`` off by default.

    Raises
    ------
    InputError
        If one is not there.
    """
    there = sorted(found)
    labels = [label_of(name) for name in subjects] if subjects else there
    absent = [label for label in labels if label not in there]
    if absent:
        raise InputError(
            f"{folder} has no subject {', '.join(absent)}",
            expected=f"among {', '.join(there)}",
            remedy="correct --subject, or complete the download",
        )
    return labels


def write_cut(
    output: str | os.PathLike[str],
    cut: Cut,
    label: str,
    modality: Modality,
    *,
    validation: int,
    seed: int,
    average: bool,
    images: str | os.PathLike[str] | None,
    name: str,
    licence: str,
    source: str,
) -> CanonicalDataset:
    """Write the trials of one subject into a canonical dataset.

    Parameters
    ----------
    output : path
        A new folder, or a dataset to add subjects to.
    cut : Cut
    label : str
        Of the subject.
    modality : {"eeg", "meg"}
    validation, seed : int
        Concepts held out of training, and of that draw.
    average : bool
        One row per picture.
    images : path, optional
        Folder of the pictures, copied into the dataset.
    name, licence, source : str
        Of the dataset.
    """
    train = cut.table["split"] == "train"
    concepts = choose_concepts(cut.table.loc[train, "concept"].tolist(), validation, seed=seed)
    recording = to_recording(cut, label, modality, held_out=set(concepts.concepts), average=average)
    pictures = None if images is None else found_pictures(Path(images), recording.trials)
    dataset = write_subject(
        output, recording, pictures, name=name, licence=licence, source=source, dtype="float16"
    )
    concepts.save(Path(output) / SPLIT_FILE)
    return dataset
