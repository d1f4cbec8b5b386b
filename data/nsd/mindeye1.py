"""NSD as MindEye1 packed it: tars of pictures with up to three repetitions of their voxels.

``webdataset_avg_split/{train,val,test}/train_subj01_0.tar``: members ``.jpg`` or ``.png``,
``.nsdgeneral.npy`` (3, n_voxels), ``.trial.npy``, ``.coco73k.npy`` and ``.num_uniques.npy``. Where
a picture was shown less than three times, repetitions are repeated: these copies are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.nsd.facts import REPETITIONS, TRIALS_PER_SESSION
from phosphene.data.nsd.subject_part import SubjectPart
from phosphene.data.nsd.tars import Sample, read_samples
from phosphene.errors import InputError
from phosphene.types import VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.pictures import Pictures

__all__ = ["is_mindeye1", "open_mindeye1"]

Array = np.ndarray[Any, Any]
ENDINGS = ("nsdgeneral.npy", "trial.npy", "coco73k.npy", "num_uniques.npy", "png", "jpg", "jpeg")
UNKNOWN_TRIAL = -1
TAR = re.compile(r"(train|val|test)_subj0*(\d+)_\d+\.tar")


def is_mindeye1(source: Path) -> bool:
    """Whether a folder holds tars of MindEye1."""
    return any(TAR.fullmatch(path.name) for path in source.rglob("*_subj*_*.tar"))


def open_mindeye1(
    source: Path, subject: str, *, per_session: int = TRIALS_PER_SESSION, pictures: bool = True
) -> SubjectPart:
    """Open one subject; its validation pictures count as training ones.

    Parameters
    ----------
    source : Path
    subject : str
    per_session : int
        Trials of a session, by which a trial's session is known.
    pictures : bool

    Raises
    ------
    InputError
        If the subject is not there, a member is missing, or a trial stands in two samples.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    samples: list[Sample] = []
    n_voxels = set()
    for split, shards in _shards(source, subject).items():
        for sample in read_samples(shards, ENDINGS):
            picture = int(sample.array("coco73k.npy").ravel()[0])
            trials = sample.array("trial.npy").ravel().astype(np.int64)
            shape = _shape(sample)
            n_voxels.add(shape[1])
            for repetition, trial in _unique(sample, trials, shape[0]):
                rows.append(
                    {
                        "trial": int(trial),
                        "nsd_id": picture,
                        "shared": split == "test",
                        "sample": len(samples),
                        "repetition": repetition,
                    }
                )
            samples.append(sample)
    if len(n_voxels) != 1:
        raise InputError(
            f"samples of subject {subject} in {source} have {sorted(n_voxels)} voxels", "one count"
        )
    table = _in_time(pd.DataFrame(rows), per_session, source)

    def read(wanted: Array) -> Array:
        chosen = table.iloc[wanted]
        return np.stack(
            [
                samples[sample].array("nsdgeneral.npy")[repetition].astype(np.float32)
                for sample, repetition in zip(chosen["sample"], chosen["repetition"], strict=True)
            ]
        )

    def picture_of(row: int) -> Pictures:
        return samples[int(table["sample"].iloc[row])].picture()

    has = pictures and all(sample.has_picture for sample in samples)
    trials_table = table.drop(columns=["sample", "repetition"])
    return SubjectPart(
        trials_table, read, VoxelSpace.columns(n_voxels.pop()), picture_of if has else None,
        averaged=False, facts={"betas": "as MindEye1 packed them", "mask": "nsdgeneral"},
    )  # fmt: skip


def _shards(source: Path, subject: str) -> dict[str, list[Path]]:
    found: dict[str, dict[str, Path]] = {"train": {}, "val": {}, "test": {}}
    for path in sorted(source.rglob("*_subj*_*.tar")):
        match = TAR.fullmatch(path.name)
        if match and int(match[2]) == int(subject):
            other = found[match[1]].setdefault(path.name, path)
            if other != path:
                raise InputError(
                    f"{source} holds {path.name} twice: {other} and {path}",
                    expected="one set of tars per subject",
                    remedy="name the folder of one set with --source",
                )
    for split in ("train", "test"):
        if not found[split]:
            raise InputError(
                f"{source} has no {split} tars of subject {subject}",
                expected=f"{split}/{split}_subj{int(subject):02d}_0.tar and following",
                remedy="complete the download, or correct --subjects",
            )
    return {
        split: sorted(files.values(), key=lambda path: int(path.stem.rpartition("_")[2]))
        for split, files in found.items()
    }


def _shape(sample: Sample) -> tuple[int, int]:
    shape = sample.array("nsdgeneral.npy").shape
    if len(shape) != 2 or shape[0] > REPETITIONS:
        raise InputError(
            f"the voxels of {sample.key} in {sample.shard} have the shape {shape}",
            expected=f"(up to {REPETITIONS} repetitions, voxels)",
        )
    return shape[0], shape[1]


def _unique(sample: Sample, trials: Array, n_rows: int) -> list[tuple[int, int]]:
    """Return the rows that are trials of their own, with these: copies fill up to three."""
    n_unique = int(sample.array("num_uniques.npy").ravel()[0])
    if len(trials) < min(n_unique, n_rows):  # one number for all: when each was is not known
        return [(row, UNKNOWN_TRIAL) for row in range(min(n_unique, n_rows))]
    first = {int(trial): row for row, trial in reversed(list(enumerate(trials[:n_rows].tolist())))}
    kept = sorted((row, trial) for trial, row in first.items())
    if len(trials) < n_rows or len(kept) != n_unique:
        raise InputError(
            f"the sample {sample.key} of {sample.shard} has the trials {trials.tolist()} and "
            f"{n_unique} of them unique",
            expected=f"{n_rows} trials, as many of them different as num_uniques says",
            remedy="copy the file again from its source",
        )
    return kept


def _in_time(table: pd.DataFrame, per_session: int, source: Path) -> pd.DataFrame:
    """Return the rows in the order of the experiment, sessions from trial numbers.

    Where a sample does not say when its repetitions were, the order is that of the tars and there
    are no sessions. Numbers count from 0, unless the last one says that they count from 1.
    """
    if (table["trial"] == UNKNOWN_TRIAL).any():
        table["trial"], table["session"] = np.arange(1, len(table) + 1), 0
        table["run"], table["count"] = "n/a", 1
        return table
    if table["trial"].duplicated().any():
        raise InputError(
            f"{source} has the trial {table['trial'][table['trial'].duplicated()].iloc[0]} twice",
            expected="each trial in one sample",
            remedy="copy the files again from their source",
        )
    ordered = table.sort_values("trial", kind="stable").reset_index(drop=True)
    from_one = ordered["trial"].min() >= 1 and ordered["trial"].max() % per_session == 0
    if not from_one:
        ordered["trial"] += 1
    ordered["session"] = (ordered["trial"] - 1) // per_session + 1
    ordered["run"], ordered["count"] = "n/a", 1
    return ordered
