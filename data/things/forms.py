"""The forms in which THINGS-EEG2 circulates, each recognised by its files.

``official``: pickled dictionaries inside numpy arrays, 100 Hz, whitened with training and test
trials together. ``nice``: bare pickles with the suffix of numpy, 250 Hz. ``ubp``: ``.pt``.
``neurobridge``: plain arrays by concept. ``raw``: continuous, in :mod:`.raw`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.data.readers.restricted_pickle import is_pickled, load_plain_pickle
from phosphene.data.things.stimulus_table import StimulusTable
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17, THINGS_63
from phosphene.errors import InputError
from phosphene.sensors import SensorInfo
from phosphene.storage import load_array, read_json

__all__ = ["FORMS", "Part", "read_part", "recognise", "sensors_from"]

Array = np.ndarray[Any, Any]

FORMS = ("neurobridge", "nice", "official", "raw", "ubp")
PICKLED = {"train": "preprocessed_eeg_training.npy", "test": "preprocessed_eeg_test.npy"}
RATES = (100.0, 200.0, 250.0, 500.0, 1000.0)


@dataclass(frozen=True, eq=False)
class Part:
    """One split of one subject.

    Attributes
    ----------
    data : ndarray of shape (n_pictures, n_repetitions, C, n_times)
        Rows in the order of the stimulus table.
    info : SensorInfo
    sessions : ndarray of shape (n_pictures, n_repetitions), optional
        Labels, where the form keeps them.
    """

    data: Array
    info: SensorInfo
    sessions: Array | None = None


def recognise(source: Path) -> tuple[str, dict[str, Path]]:
    """Return the form and the folder of every subject.

    Raises
    ------
    InputError
        If there is no subject, or several forms lie in one folder.
    """
    found: dict[str, dict[str, Path]] = {}
    folders = [source, *sorted(path for path in source.rglob("*") if path.is_dir())]
    for folder in folders:
        match = re.search(r"sub-?(\d+)$", folder.name, re.IGNORECASE)
        form = _form_of(folder) if match else None
        if match and form:
            subjects = found.setdefault(form, {})
            label = match[1].zfill(2)
            if label in subjects:
                raise InputError(
                    f"{source} holds subject {label} twice: {subjects[label]} and {folder}",
                    expected="one set of files per subject",
                    remedy="name the folder of one of them with --source",
                )
            subjects[label] = folder
    if len(found) != 1:
        raise InputError(
            f"{source} holds " + (f"the forms {', '.join(sorted(found))}" if found else "no form"),
            expected=f"folders sub-01, sub-02, ... in one of the forms {', '.join(FORMS)}",
            remedy="name the folder of one form with --source",
        )
    return next(iter(found.items()))


def _form_of(folder: Path) -> str | None:
    if (folder / PICKLED["train"]).is_file() or (folder / PICKLED["test"]).is_file():
        path = next(folder / name for name in PICKLED.values() if (folder / name).is_file())
        with path.open("rb") as handle:
            return "official" if handle.read(1) == b"\x93" else "nice"
    for form, suffix in (("ubp", "pt"), ("neurobridge", "npy")):
        if any((folder / f"{split}.{suffix}").is_file() for split in ("train", "test")):
            return form
    return "raw" if any(folder.glob("ses-*/raw_eeg_*.npy")) else None


def read_part(form: str, folder: Path, split: str, table: StimulusTable) -> Part:
    """Read one split of a pre-processed form.

    Parameters
    ----------
    form : {"official", "nice", "ubp", "neurobridge"}
    folder : Path
        Of the subject.
    split : {"train", "test"}
    table : StimulusTable
        Of that split.

    Raises
    ------
    InputError
        If the file is missing, damaged or malicious, or does not fit the stimulus table.
    """
    readers = {
        "official": _read_pickled, "nice": _read_pickled, "ubp": _read_ubp,
        "neurobridge": _read_neurobridge,
    }  # fmt: skip
    path, data, names, times, rows, sessions = readers[form](folder, split, table)
    if data.ndim != 4 or len(data) != len(table):
        raise InputError(
            f"{path} has the shape {data.shape}",
            expected=f"({len(table)}, repetitions, channels, samples), a row per {split} picture "
            "of the stimulus table",
            remedy="use the stimulus table and the recordings of one release",
        )
    if rows is not None:
        data, sessions = data[rows], None if sessions is None else sessions[rows]
    data, names = _without_stimulus_channel(data, names, path)
    return Part(data, sensors_from(names, times, data.shape[3], path), sessions)


def _read_pickled(folder: Path, split: str, table: StimulusTable) -> tuple[Any, ...]:
    path = _existing(folder / PICKLED[split])
    if not is_pickled(path):
        raise InputError(f"{path} is not a pickled dictionary", "the official file or NICE's")
    content = load_plain_pickle(path)
    data = _entry(content, "preprocessed_eeg_data", path)
    times = content.get("times")
    return path, np.asarray(data), _names(content, path), times, None, None


def _read_ubp(folder: Path, split: str, table: StimulusTable) -> tuple[Any, ...]:
    import torch

    path = _existing(folder / f"{split}.pt")
    core = np.zeros(0).__reduce__()[0]
    classes: list[Any] = [
        np.ndarray,
        np.dtype,
        core,
        *(type(np.dtype(k)) for k in ("f2", "f4", "f8", "i8")),
    ]
    classes += [type(np.dtype("U1")), type(np.dtype("O"))]
    try:
        with torch.serialization.safe_globals(classes):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle and zip errors of many kinds
        raise InputError(
            f"{path} is damaged, or a pickle that asks for more than plain values: nothing of it "
            f"was executed ({' '.join(str(error).split())[:160]})",
            expected="a dictionary that torch.save wrote, with eeg, ch_names, times and img",
            remedy="get the file again from its source",
        ) from error
    data = np.asarray(_entry(content, "eeg", path))
    rows = None
    if content.get("img") is not None:
        rows = _rows_by_name(content["img"], len(data), table, path)
    sessions = content.get("session")
    if sessions is not None:
        sessions = np.asarray(sessions)
        sessions = sessions if sessions.shape == data.shape[:2] else None
    return path, data, _names(content, path), content.get("times"), rows, sessions


def _rows_by_name(pictures: Any, n_rows: int, table: StimulusTable, path: Path) -> Array:
    """Return which row holds each picture of the table; repetitions of a name must agree."""
    named = np.asarray(pictures, dtype=object)
    named = named if named.ndim == 1 else named.reshape(len(named), -1)[:, 0]
    places = {str(name).replace("\\", "/").rpartition("/")[2]: k for k, name in enumerate(named)}
    absent = [file for file in table.files if file not in places]
    if absent or len(places) != n_rows:
        raise InputError(
            f"{path} names {len(places)} pictures for {n_rows} rows"
            + (f" and not {absent[0]!r}" if absent else ""),
            expected="the pictures of the stimulus table, a row each",
            remedy="use the stimulus table and the recordings of one release",
        )
    return np.array([places[file] for file in table.files])


def _read_neurobridge(folder: Path, split: str, table: StimulusTable) -> tuple[Any, ...]:
    path = _existing(folder / f"{split}.npy")
    data = load_array(path)
    if data.ndim != 5:
        raise InputError(
            f"{path} has the shape {data.shape}",
            expected="(concepts, pictures per concept, repetitions, channels, samples)",
            remedy="use the arrays as NeuroBridge writes them",
        )
    info: Any = {}
    for place in (folder / "info.json", folder.parent / "info.json"):
        if place.is_file():
            info = read_json(place)
            break
    info = info if isinstance(info, dict) else {}
    names = info.get("ch_names") or info.get("channels")
    data = data.reshape(-1, *data.shape[2:])  # sorted concepts, then sorted pictures: the table's
    known = {17: OCCIPITAL_17, 63: THINGS_63}
    names = names if isinstance(names, list) else known.get(data.shape[2])
    if names is None:
        raise InputError(
            f"{path} has {data.shape[2]} channels and info.json does not name them",
            expected="ch_names in info.json, or 17 or 63 channels in their usual order",
            remedy="add ch_names to info.json",
        )
    return path, data, [str(name) for name in names], info.get("times"), None, None


def _without_stimulus_channel(data: Array, names: list[str], path: Path) -> tuple[Array, list[str]]:
    """Drop the row of triggers that files of "63 channels" hold as a 64th."""
    n_chans = data.shape[2]
    if len(names) == n_chans and names[-1].lower() in ("stim", "sti", "status"):
        return data[:, :, :-1], names[:-1]
    if len(names) == n_chans - 1:
        return data[:, :, :-1], names
    if len(names) != n_chans:
        raise InputError(
            f"{path} holds {n_chans} channels and {len(names)} names",
            expected="a name per channel (and at most a row of triggers after them)",
            remedy="use the files of one release",
        )
    return data, names


def sensors_from(names: list[str], times: Any, n_times: int, path: Path) -> SensorInfo:
    """Return the sensors of whitened data, with its own time axis.

    Files of 250 Hz keep 300 times from -.2 s for 250 samples from 0 on: the last ones are meant.
    """
    if times is None:
        known = {100: (-0.2, 100.0), 250: (0.0, 250.0)}.get(n_times)
        if known is None:
            raise InputError(
                f"{path} has {n_times} samples and does not say when",
                expected="a time axis, or 100 or 250 samples",
                remedy="use the file as its authors wrote it",
            )
        axis = known[0] + np.arange(n_times) / known[1]
    else:
        axis = np.asarray(times, dtype=np.float64).ravel()
    if len(axis) < n_times or len(axis) < 2:
        raise InputError(
            f"{path} has {n_times} samples and {len(axis)} times",
            expected="a time per sample",
            remedy="use the file as its authors wrote it",
        )
    axis = axis[-n_times:]
    steps = np.diff(axis)
    rate = 1 / float(np.median(steps)) if steps.size else RATES[0]
    if steps.size and np.abs(steps - steps.mean()).max() > 0.01 * abs(steps.mean()):
        raise InputError(
            f"the times of {path} are not evenly spaced",
            expected="one sampling rate",
            remedy="use the file as its authors wrote it",
        )
    nearest = min(RATES, key=lambda usual: abs(usual - rate))
    rate = nearest if abs(nearest - rate) < 0.02 * nearest else rate
    return SensorInfo(tuple(names), rate, round(float(axis[0]), 6), unit="whitened")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"there is no file {path}",
            expected="both splits of the subject",
            remedy="complete the download",
        )
    return path


def _entry(content: Any, key: str, path: Path) -> Any:
    if not isinstance(content, Mapping) or key not in content:
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content)
        raise InputError(
            f"{path} holds {found} and no {key}",
            expected=f"a dictionary with {key}, ch_names and times",
            remedy="use the file as its authors wrote it",
        )
    return content[key]


def _names(content: Any, path: Path) -> list[str]:
    with reading(path, "a recording that names its channels"):
        return [str(name) for name in content["ch_names"]]
