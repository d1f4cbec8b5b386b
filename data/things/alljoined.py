"""``phosphene prepare alljoined``: Alljoined-1.6M, raw or as ENIGMA prepared it.

20 people with a consumer headset of 32 electrodes and the pictures of THINGS-EEG2. ``raw``:
``sub-01/session_01/block_01/*.edf`` whose annotations say what is shown (partition, number of the
picture, sequence, place in it). ``flat``: ``preprocessed_eeg_training_flat.npy`` (trials,
channels, 250) beside ``experiment_metadata.parquet``, a row per trial.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.filtering import BandPass
from phosphene.data.readers.damage import reading
from phosphene.data.readers.epochs import choose_channels, sensors_of
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.data.things.cutting import Cut, Cutting, cut_trials, whiten_sessions
from phosphene.data.things.eeg1 import pick_names
from phosphene.data.things.forms import sensors_from
from phosphene.data.things.writing import choose_subjects, write_cut
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17
from phosphene.errors import InputError, UsageError
from phosphene.names import require
from phosphene.progress import progress
from phosphene.sensors import SensorInfo

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FLEX_32", "prepare_alljoined"]

Array = np.ndarray[Any, Any]
LICENCE = "CC BY-NC 4.0"
FLEX_32 = (
    "Cz", "FCz", "AFz", "Fp1", "F5", "F1", "CP5", "CP3", "CP1", "P1", "P3", "P5", "P7", "PO7",
    "PO3", "O1", "Pz", "POz", "Oz", "O2", "PO4", "PO8", "P8", "P6", "P4", "P2", "CP2", "CP4",
    "CP6", "F2", "F6", "Fp2",
)  # fmt: skip
"""Electrodes in the order of ENIGMA; recordings spell AFz as Afz."""
SPLITS = {"stim_train": "train", "stim_test": "test"}
FLAT = {"train": "preprocessed_eeg_training_flat.npy", "test": "preprocessed_eeg_test_flat.npy"}
METADATA = ("experiment_metadata.parquet", "experiment_metadata_categories.parquet")


def prepare_alljoined(
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
    table: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> tuple[CanonicalDataset, list[str]]:
    """Read Alljoined-1.6M in the form that ``source`` holds and write a canonical dataset.

    Parameters
    ----------
    source : path
        A folder with ``sub-01``, ...
    output : path
        A new folder, or a dataset to add subjects to.
    subjects : list of str, optional
    channels : {"all", "17"}
        All 32, or those of the 17 over parietal cortex that the headset has.
    validation, seed : int
        Concepts held out of training, and of that draw.
    average : bool
        One row per picture.
    whiten : bool
        Of the raw form, per session, fitted on training trials; False leaves microvolts.
    band : BandPass, optional
        Of the raw form; no filter beyond the amplifier's by default.
    rate : float
        Of the raw form, hertz.
    table : path, optional
        ``experiment_metadata.parquet``; found beside the recordings by default.
    images : path, optional
        Folder of the pictures, copied into the dataset.

    Returns
    -------
    dataset : CanonicalDataset
    said : list of str

    Raises
    ------
    InputError
        If files are missing, damaged or malicious, or do not fit one another.
    """
    if channels not in ("all", "17"):
        raise UsageError(f"`channels` is {channels!r}", expected="all or 17")
    folder = Path(source)
    form, found = _recognise(folder)
    labels = choose_subjects(found, subjects, folder)
    wanted = FLEX_32 if channels == "all" else tuple(n for n in OCCIPITAL_17 if n in FLEX_32)
    cutting = Cutting((-0.2, 1.0), True, rate, 0.0, band or BandPass())
    said = [f"form: {form}"]
    dataset: CanonicalDataset | None = None
    for label in progress(labels, label="subjects"):
        told = _metadata(found[label], folder if table is None else Path(table), label)
        if form == "flat":
            if told is None:
                raise InputError(
                    f"there is no {METADATA[0]} for subject {label}",
                    expected="the table that says what each trial shows",
                    remedy="copy it beside the recordings, or name it with --table",
                )
            cut = _read_flat(found[label], told, wanted)
        else:
            cut = _read_raw(found[label], told, wanted, cutting)
            said.append(f"subject {label}: {cutting.band.describe()}")
            if told is None:
                said.append(f"subject {label}: no {METADATA[0]}, every picture its own concept")
        if whiten and cut.info.unit != "whitened":
            cut = whiten_sessions(cut)
        dataset = write_cut(
            output, cut, label, "eeg", validation=validation, seed=seed, average=average,
            images=images, name="alljoined-1.6m", licence=LICENCE,
            source=f"alljoined-1.6m ({form})",
        )  # fmt: skip
    assert dataset is not None
    return dataset, said


def _recognise(source: Path) -> tuple[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {"raw": {}, "flat": {}}
    folders = [source, *sorted(p for p in source.rglob("*") if p.is_dir())]
    for folder in folders if source.is_dir() else []:
        match = re.fullmatch(r"sub-?(\d+)", folder.name, re.IGNORECASE)
        if not match:
            continue
        label = match[1].zfill(2)
        if (folder / FLAT["train"]).is_file():
            found["flat"].setdefault(label, folder)
        elif any(folder.rglob("*.edf")):
            found["raw"].setdefault(label, folder)
    there = [form for form in found if found[form]]
    if len(there) != 1:
        raise InputError(
            f"{source} holds "
            + (f"the forms {', '.join(there)}" if there else "no recording of Alljoined-1.6M"),
            expected=f"folders sub-01, ... with session_01/block_01/*.edf, or with {FLAT['train']}",
            remedy="name the folder of one form with --source",
        )
    return there[0], found[there[0]]


def _metadata(folder: Path, place: Path, label: str) -> pd.DataFrame | None:
    """Return the table of a subject's trials, None where there is none."""
    import pandas as pd

    around = [place] if place.is_file() else []
    for root in (folder, place, place.parent):
        if not around and root.is_dir():
            around = sorted(p for name in METADATA for p in root.rglob(name) if p.is_file())
    if not around:
        return None
    with reading(around[0], "a table of trials (.parquet)"):
        told = pd.read_parquet(around[0])
    missing = [column for column in ("partition", "image_path") if column not in told]
    if missing:
        raise InputError(
            f"{around[0]} has no column {', '.join(missing)}",
            expected="partition, image_path, category_name (and subject, dropped)",
            remedy="copy it again from its source",
        )
    if "subject" in told:
        number = told["subject"].astype(str).str.extract(r"(\d+)$")[0].astype(float)
        if (number == int(label)).any():
            told = told[number == int(label)]
    return told.reset_index(drop=True)


def _stem(path: str) -> str:
    file = str(path).replace("\\", "/").rpartition("/")[2]
    return file.rpartition(".")[0] or file


def _read_flat(folder: Path, told: pd.DataFrame, wanted: tuple[str, ...]) -> Cut:
    import pandas as pd

    if "dropped" in told:
        told = told[~told["dropped"].astype(bool)]
    blocks, tables = [], []
    info: SensorInfo | None = None
    for split, name in FLAT.items():
        path = folder / name
        content = load_plain_pickle(path)
        if not isinstance(content, dict) or not {"preprocessed_eeg_data", "ch_names"} <= set(
            content
        ):
            raise InputError(
                f"{path} is no dictionary with preprocessed_eeg_data and ch_names",
                expected="a file that ENIGMA prepared",
            )
        data = np.asarray(content["preprocessed_eeg_data"])
        rows = told[told["partition"].map(SPLITS) == split]
        if data.ndim != 3 or len(data) != len(rows):
            raise InputError(
                f"{path} has the shape {data.shape}",
                expected=f"({len(rows)}, channels, samples), a row per trial that the table keeps",
                remedy="use recordings and table of one release",
            )
        names = [str(n) for n in content["ch_names"]]
        chosen = pick_names(names, wanted, str(path))
        info = sensors_from(
            [wanted[k] for k in range(len(chosen))], content.get("times"), data.shape[2], path
        )
        blocks.append(data[:, chosen].astype(np.float16))
        tables.append(_shown(rows, split))
    assert info is not None
    return Cut(np.concatenate(blocks), info, pd.concat(tables, ignore_index=True))


def _shown(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    import pandas as pd

    names = [_stem(path) for path in rows["image_path"]]
    concept = rows["category_name"].astype(str) if "category_name" in rows else names
    session = rows["session"].astype(str) if "session" in rows else "01"
    return pd.DataFrame(
        {"session": session, "run": "01", "stimulus_id": names, "concept": concept, "split": split}
    )


def _read_raw(
    folder: Path, told: pd.DataFrame | None, wanted: tuple[str, ...], cutting: Cutting
) -> Cut:
    import pandas as pd

    concepts: dict[str, str] = {}
    if told is not None and "category_name" in told:
        concepts = {
            _stem(path): str(name)
            for path, name in zip(told["image_path"], told["category_name"], strict=True)
        }
    blocks, tables = [], []
    first: SensorInfo | None = None
    for path in sorted(folder.rglob("*.edf")):
        data, info, table = _one_block(path, wanted, cutting)
        if not len(table):
            continue
        if first is not None and info.hash != first.hash:
            raise InputError(
                f"{path} has {info.describe()}",
                expected=f"{first.describe()}, as the first block",
                remedy="leave that block out",
            )
        first = first or info
        blocks.append(data)
        tables.append(table)
    if first is None:
        raise InputError(
            f"no recording in {folder} has a picture's annotation",
            expected="annotations such as 'stim_train, 16558, 3, 12'",
            remedy="copy the recordings again from their source",
        )
    table = pd.concat(tables, ignore_index=True)
    table["concept"] = table["stimulus_id"].map(lambda name: concepts.get(name, name))
    return Cut(np.concatenate(blocks), first, table)


def _one_block(
    path: Path, wanted: tuple[str, ...], cutting: Cutting
) -> tuple[Array, SensorInfo, pd.DataFrame]:
    import pandas as pd

    mne = require("mne", "eeg")
    with reading(path, "a block of Alljoined-1.6M (.edf)"):
        raw = mne.io.read_raw_edf(path, preload=False, verbose="error")
    shown, onsets = [], []
    for onset, words in zip(raw.annotations.onset, raw.annotations.description, strict=True):
        parts = [part.strip() for part in str(words).split(",")]
        if parts[0] in SPLITS and len(parts) > 1:
            shown.append((SPLITS[parts[0]], parts[1]))
            onsets.append(float(onset))
    labels = {
        key: found[1] if (found := re.search(rf"{key}[_-]?(\w+?)(?=[_.\-]|$)", place)) else "01"
        for key, place in (("session", _part(path, "session")), ("block", _part(path, "block")))
    }
    table = pd.DataFrame(
        {
            "session": labels["session"], "run": labels["block"],
            "stimulus_id": [name for _, name in shown], "split": [split for split, _ in shown],
        },
        index=range(len(shown)),
    )  # fmt: skip
    if not shown:
        return np.empty((0, 0, 0)), SensorInfo(("none",), 1.0), table
    # Consumer recordings type every channel as EEG, the headset's own ones too: names decide.
    kind, picks = choose_channels(raw.info, "eeg", str(path))
    chosen = pick_names([raw.ch_names[pick] for pick in picks], wanted, str(path))
    picks = [picks[place] for place in chosen]
    with reading(path, "a block of Alljoined-1.6M (.edf)"):
        signal = raw.get_data(picks=picks, verbose="error")
    info = sensors_of(raw.info, picks, kind, tmin=0.0)
    named = SensorInfo(wanted, info.sfreq, 0.0, info.positions, info.unit, info.reference)
    starts = np.round((np.array(onsets) - raw.first_time) * info.sfreq).astype(int)
    data, named = cut_trials(signal, named, starts, cutting, str(path))
    return data, named, table


def _part(path: Path, word: str) -> str:
    return next((part for part in reversed(path.parts) if part.startswith(word)), path.name)
