"""NSD as MindEye2 packed it: tars of indices, betas and pictures in HDF5.

``wds/subj01/train/{0..39}.tar`` (a tar per session), ``wds/subj01/{test,new_test}/0.tar``, members
``behav.npy`` (1, 17); ``betas_all_subj01_fp32_renorm.hdf5`` (``betas``); and
``coco_images_224_float16.hdf5`` (``images``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.nsd.bricks import hdf5_rows
from phosphene.data.nsd.facts import SESSIONS
from phosphene.data.nsd.subject_part import SubjectPart
from phosphene.data.nsd.tars import read_samples
from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.types import VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.pictures import Pictures

__all__ = ["is_mindeye2", "open_mindeye2"]

Array = np.ndarray[Any, Any]
IMAGES = "coco_images_224_float16.hdf5"
# Columns of the 17 numbers of a trial.
PICTURE, SUBJECT, SESSION, RUN, GLOBAL_TRIAL, SHARED = 0, 1, 2, 3, 5, 16
N_COLUMNS = 17
TEST_FOLDERS = {"1000": "new_test", "982": "test"}
KIND = "betas of a subject in HDF5"


def is_mindeye2(source: Path) -> bool:
    """Whether a folder holds the files of MindEye2."""
    return any((source / "wds").glob("subj*/train/*.tar"))


def open_mindeye2(
    source: Path, subject: str, *, protocol: str = "1000", pictures: bool = True
) -> SubjectPart:
    """Open one subject with the test trials of a protocol.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the numbers of trials contradict one another.
    """
    name = f"subj{int(subject):02d}"
    folder = source / "wds" / name
    train = sorted((folder / "train").glob("*.tar"), key=_number)
    test = sorted((folder / TEST_FOLDERS[protocol]).glob("*.tar"), key=_number)
    for kind, shards in (("train", train), (TEST_FOLDERS[protocol], test)):
        if not shards:
            raise InputError(
                f"{folder} has no {kind}/0.tar",
                expected="tars of trials, and the test folder of the protocol",
                remedy="complete the download, or correct --subjects and --protocol",
            )
    released = SESSIONS.get(subject.lstrip("0"), len(train))
    if len(train) > released:
        raise InputError(
            f"{folder} has {len(train)} training tars", f"{released}, one per session at most"
        )
    table = _table(train, test, folder, subject)
    betas = _betas(source, name, table)

    def read(rows: Array) -> Array:
        places = table["trial"].to_numpy()[rows] - 1
        order = np.argsort(places)  # HDF5 reads increasing rows only
        out = np.empty((len(rows), betas.shape[1]), dtype=np.float32)
        with reading(betas.file.filename, KIND):
            out[order] = betas[places[order]]
        return out

    picture = _pictures(source, table) if pictures else None
    return SubjectPart(
        table, read, VoxelSpace.columns(int(betas.shape[1])), picture, averaged=False,
        facts={"betas": Path(betas.file.filename).name, "mask": "nsdgeneral"},
    )  # fmt: skip


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else -1


def _table(train: list[Path], test: list[Path], folder: Path, subject: str) -> pd.DataFrame:
    import pandas as pd

    rows = [
        sample.array("behav.npy").reshape(-1)
        for shards in (train, test)
        for sample in read_samples(shards, ("behav.npy",))
    ]
    if not rows or any(len(row) != N_COLUMNS for row in rows):
        raise InputError(
            f"{folder} has a sample of {sorted({len(row) for row in rows})} numbers",
            expected=f"behav.npy of {N_COLUMNS} numbers per trial",
            remedy="use the tars of MindEye2, not of MindEye1",
        )
    numbers = np.stack(rows).astype(np.int64)
    others = np.unique(numbers[:, SUBJECT])
    if others.tolist() not in ([int(subject)], [int(subject) - 1]):
        raise InputError(
            f"{folder} holds trials of the subjects {others.tolist()}", f"subject {subject}"
        )
    session = numbers[:, SESSION] + (numbers[:, SESSION].min() == 0)
    table = pd.DataFrame(
        {
            "session": session,
            "run": [f"{run:02d}" for run in numbers[:, RUN]],
            "trial": numbers[:, GLOBAL_TRIAL] + 1,
            "nsd_id": numbers[:, PICTURE],
            "shared": np.repeat([False, True], [len(rows) - _count(test), _count(test)]),
            "count": 1,
        }
    )
    n_shared = int(((numbers[:, SHARED] == 1) & ~table["shared"].to_numpy()).sum())
    seen = set(table.loc[table["shared"], "nsd_id"]) & set(table.loc[~table["shared"], "nsd_id"])
    if n_shared or seen:
        raise InputError(
            f"{folder} has {n_shared} trials of shared pictures in the training tars, and "
            f"{len(seen)} pictures in training and test",
            expected="column 16 of behav.npy 1 in the test tars alone",
            remedy="copy the tars again from their source",
        )
    if table["trial"].duplicated().any():
        raise InputError(
            f"{folder} has the trial {table['trial'][table['trial'].duplicated()].iloc[0]} twice",
            expected="each trial in one sample",
            remedy="copy the tars again from their source",
        )
    return table.sort_values("trial", kind="stable").reset_index(drop=True)


def _count(shards: list[Path]) -> int:
    return sum(1 for _ in read_samples(shards, ("behav.npy",)))


def _betas(source: Path, name: str, table: pd.DataFrame) -> Any:
    found = sorted(source.glob(f"betas_all_{name}_fp32_renorm.hdf5"))
    found = found or sorted(source.glob(f"betas*_{name}*.hdf5"))
    path = found[0] if found else source / f"betas_all_{name}_fp32_renorm.hdf5"
    existing_file(path, KIND)
    with reading(path, KIND):
        betas = require("h5py", "nsd").File(path, "r").get("betas")
        shape = tuple(getattr(betas, "shape", ()))
    if len(shape) != 2 or shape[0] < int(table["trial"].max()):
        raise InputError(
            f"{path} holds betas of shape {shape}",
            expected=f"a row for each of at least {table['trial'].max()} trials",
            remedy="use betas and tars of one release",
        )
    return betas


def _pictures(source: Path, table: pd.DataFrame) -> Any:
    path = source / IMAGES
    if not path.is_file():
        raise InputError(
            f"{source} has no {IMAGES}",
            expected="the pictures, of which the shown ones are copied",
            remedy="copy it there, or use --no-pictures",
        )
    read, shown = hdf5_rows(path, "images"), table["nsd_id"].to_numpy()

    def picture(row: int) -> Pictures:
        return read(int(shown[row]))

    return picture
