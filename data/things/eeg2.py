"""``phosphene prepare things-eeg2``: any of its forms becomes one canonical dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import PictureFiles
from phosphene.data.prepare import Stimuli, write_subject
from phosphene.data.things.forms import Part, read_part, recognise
from phosphene.data.things.raw import read_raw
from phosphene.data.things.stimulus_table import StimulusTable, read_stimulus_table
from phosphene.data.things.validation import SPLIT_FILE, choose_concepts
from phosphene.data.things.writing import choose_subjects
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17
from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo, standard_name
from phosphene.trials import UNKNOWN, complete_trials
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["prepare_things_eeg2"]

Array = np.ndarray[Any, Any]
LICENCE = "CC BY 4.0"
DEFAULT_VALIDATION = 200


def prepare_things_eeg2(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    subjects: list[str] | None = None,
    channels: str = "all",
    validation: int = DEFAULT_VALIDATION,
    seed: int = 0,
    average: bool = False,
    whiten: bool = True,
    table: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> tuple[CanonicalDataset, str]:
    """Read THINGS-EEG2 in the form that ``source`` holds and write a canonical dataset.

    Rows of a recording go picture by picture, training before test, and repetition by repetition:
    of the first n x r rows, ``recording.data[: n * r].reshape(n, r, n_chans, n_times)`` is a view
    (picture, repetition, channel, time).

    Parameters
    ----------
    source : path
        A folder with ``sub-01``, ... and the stimulus table in it or beside it.
    output : path
        A new folder, or a dataset to add subjects to.
    subjects : list of str, optional
        Labels; all by default.
    channels : {"all", "17"}
        ``17`` keeps the occipital and parietal ones.
    validation : int
        Concepts held out of training, all their pictures; written to a file of the dataset.
    seed : int
        Of that draw.
    average : bool
        One row per picture, the mean of its repetitions.
    whiten : bool
        Of the raw form alone; the others are whitened already.
    table : path, optional
        ``image_metadata.npy``.
    images : path, optional
        Folder of the pictures (``training_images``, ``test_images``), copied into the dataset.

    Returns
    -------
    dataset : CanonicalDataset
    form : str
        Which of the forms it was.

    Raises
    ------
    InputError
        If files are missing, damaged or malicious, or do not fit the stimulus table.
    """
    if channels not in ("all", "17"):
        raise UsageError(f"`channels` is {channels!r}", expected="all or 17")
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}", "the folder that holds sub-01, sub-02, ..."
        )
    form, found = recognise(folder)
    train, test = read_stimulus_table(Path(table) if table is not None else folder)
    tables = {"train": train, "test": test}
    concepts = choose_concepts(train.concepts, validation, seed=seed)
    chosen = choose_subjects(found, subjects, folder)
    pictures = None if images is None else _pictures(Path(images), tables)
    dataset: CanonicalDataset | None = None
    for label in chosen:
        parts = _read(form, found[label], tables, channels=channels, whiten=whiten)
        recording = _recording(parts, tables, label, set(concepts.concepts), average=average)
        dataset = write_subject(
            output, recording, pictures, name="things-eeg2", licence=LICENCE,
            source=f"things-eeg2 ({form})", dtype="float16",
        )  # fmt: skip
        concepts.save(Path(output) / SPLIT_FILE)
    if dataset is None:
        raise InputError(f"{folder} has no subject", expected="sub-01, sub-02, ...")
    return dataset, form


def _read(
    form: str, folder: Path, tables: dict[str, StimulusTable], *, channels: str, whiten: bool
) -> dict[str, Part]:
    names = OCCIPITAL_17 if channels == "17" else None
    if form == "raw":
        return read_raw(folder, tables, channels=names, whiten=whiten)
    if not whiten:
        raise UsageError(
            f"--no-whitening with the form {form}, which is whitened already",
            expected="the raw recordings",
        )
    parts = {split: read_part(form, folder, split, table) for split, table in tables.items()}
    if parts["train"].info.hash != parts["test"].info.hash:
        raise InputError(
            f"training data of {folder} have {parts['train'].info.describe()}",
            expected=f"{parts['test'].info.describe()}, as its test data",
            remedy="use files of one release",
        )
    return parts if names is None else {k: _pick(part, names) for k, part in parts.items()}


def _pick(part: Part, names: tuple[str, ...]) -> Part:
    places = {standard_name(name): index for index, name in enumerate(part.info.ch_names)}
    absent = [name for name in names if standard_name(name) not in places]
    if absent:
        raise InputError(
            f"the recording has no channel {', '.join(absent)}",
            expected=f"the {len(names)} occipital and parietal ones",
            remedy="use --channels all",
        )
    rows = [places[standard_name(name)] for name in names]
    return Part(part.data[:, :, rows], part.info.select(rows), part.sessions)


def _recording(
    parts: dict[str, Part],
    tables: dict[str, StimulusTable],
    label: str,
    held_out: set[str],
    *,
    average: bool,
) -> Recording:
    """Return one recording of both splits, picture by picture, in float16."""
    blocks, rows = [], []
    info: SensorInfo | None = None
    for split in ("train", "test"):
        if split not in parts:
            continue
        part, table = parts[split], tables[split]
        info = part.info
        rows.append(_rows(part, table, split, held_out, average=average))
        if average:
            blocks.append(_mean(part.data))
        else:
            flat = part.data.reshape(-1, *part.data.shape[2:])
            blocks.append(flat.astype(np.float16, copy=False))
    import pandas as pd

    trials = complete_trials(pd.concat(rows, ignore_index=True), sum(map(len, blocks)))
    return Recording(np.concatenate(blocks), "eeg", label, trials, info=info)


def _mean(data: Array) -> Array:
    means = np.empty((len(data), *data.shape[2:]), dtype=np.float16)
    for start in range(0, len(data), 256):
        means[start : start + 256] = data[start : start + 256].mean(axis=1, dtype=np.float32)
    return means


def _rows(
    part: Part, table: StimulusTable, split: str, held_out: set[str], *, average: bool
) -> pd.DataFrame:
    import pandas as pd

    repetitions = part.data.shape[1]
    each = 1 if average else repetitions
    concepts = np.repeat(np.array(table.concepts, dtype=object), each)
    splits = np.full(len(concepts), split, dtype=object)
    if split == "train":
        splits[[name in held_out for name in concepts]] = "validation"
    sessions: Any = UNKNOWN
    if part.sessions is not None and not average:
        sessions = [str(label) for label in part.sessions.ravel()]
    return pd.DataFrame(
        {
            "session": sessions,
            "run": UNKNOWN,
            "trial": [f"{split}-{index:06d}" for index in range(len(concepts))],
            "stimulus_id": np.repeat(np.array(table.ids, dtype=object), each),
            "repetition": repetitions if average else np.tile(np.arange(each) + 1, len(table)),
            "split": splits,
            "concept": concepts,
        }
    )


def _pictures(folder: Path, tables: dict[str, StimulusTable]) -> Stimuli:
    """Return names and files of all pictures, found anywhere under the folder."""
    files = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}
    wanted = [file for table in tables.values() for file in table.files]
    absent = [file for file in wanted if file not in files]
    if absent:
        raise InputError(
            f"{folder} has no picture {absent[0]} ({len(absent)} of {len(wanted)} are missing)",
            expected="training_images and test_images of the image set",
            remedy="complete the download (OSF y63gw), or leave --images out",
        )
    names = [name for table in tables.values() for name in table.ids]
    return names, cast(Any, PictureFiles([files[file] for file in wanted]))
