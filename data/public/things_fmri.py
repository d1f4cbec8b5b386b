"""``phosphene prepare things-fmri``: the release of betas as tables.

``betas_csv/sub-01_ResponseData.h5`` (a table of pandas: a row per voxel, a column per trial, with
``voxel_id``), ``sub-01_StimulusMetadata.csv`` (a row per trial) and
``sub-01_VoxelMetadata.csv`` (a row per voxel; columns such as ``V1`` mark regions). Catch trials
are left out; test trials are those that the release marks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.public import not_here
from phosphene.data.public.writing import (
    PublicSettings,
    picture_files,
    standardised,
    write_public,
)
from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["prepare_things_fmri"]

Array = np.ndarray[Any, Any]
KIND = "responses of THINGS-fMRI (a table of pandas in HDF5)"
LICENCE = "CC0 (recordings); THINGS terms (pictures)"
COLUMNS = ("trial_type", "session", "run", "trial_id", "stimulus")
N_TRIALS = 9840  # of a complete subject, catch trials not counted
STEP = 2048  # voxels read at a time


def prepare_things_fmri(
    source: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    settings: PublicSettings,
) -> tuple[CanonicalDataset, list[str]]:
    """Read a local copy of ``betas_csv`` and write a canonical dataset.

    Parameters
    ----------
    source : path or None
        A folder that holds the three files of each subject, anywhere below it.
    output : path
    settings : PublicSettings
        ``roi`` names columns of the voxel metadata, separated by commas.

    Raises
    ------
    AssetError
        Without a folder: how the dataset is obtained.
    InputError
        If files are missing or damaged, or do not go together.
    """
    if source is None:
        raise not_here("things-fmri", "there is no fetcher for it")
    folder = Path(source)
    files = {
        path.name.split("_")[0].removeprefix("sub-"): path
        for path in sorted(folder.rglob("sub-*_ResponseData.h5"))
    }
    labels = [label.removeprefix("sub-").zfill(2) for label in settings.subjects or sorted(files)]
    absent = [label for label in labels if label not in files]
    if absent or not labels:
        raise InputError(
            f"{folder} has no sub-{absent[0] if absent else '01'}_ResponseData.h5",
            expected="the files of betas_csv"
            + (f"; its subjects are {', '.join(sorted(files))}" if files else ""),
            remedy="name the folder of the release with --source, or correct --subjects",
        )
    notes: list[str] = []
    dataset: CanonicalDataset | None = None
    for label in labels:
        recording, n_catch = _recording(files[label], label, settings.roi)
        if len(recording) != N_TRIALS:
            notes.append(f"subject {label}: {len(recording)} trials of {N_TRIALS} in the release")
        recording, said = standardised(recording)
        notes += said
        names = recording.trials["stimulus_id"].tolist()
        stimuli = picture_files(settings.stimuli or folder, names) if settings.pictures else None
        dataset = write_public(
            output, recording, stimuli, settings, name="things-fmri", form="betas_csv",
            licence=LICENCE, facts={"n_catch_left_out": n_catch},
        )  # fmt: skip
    assert dataset is not None
    return dataset, notes


def _recording(path: Path, label: str, roi: str | None) -> tuple[Recording, int]:
    stimuli = _table(path.with_name(f"sub-{label}_StimulusMetadata.csv"), COLUMNS)
    voxels = _table(path.with_name(f"sub-{label}_VoxelMetadata.csv"), ("voxel_id",))
    inside = _region(voxels, roi)
    shown = (stimuli["trial_type"].astype(str) != "catch").to_numpy()
    data = _responses(path, len(voxels), len(stimuli), inside)[shown]
    table = stimuli.loc[shown].reset_index(drop=True)
    names = table["stimulus"].astype(str).map(lambda name: Path(name).stem)
    trials = {
        "session": [f"{int(n):02d}" for n in table["session"]],
        "run": [f"{int(n):02d}" for n in table["run"]],
        "trial": table["trial_id"].astype(int),
        "stimulus_id": names,
        "split": table["trial_type"].astype(str),
        "concept": names.str.rpartition("_")[0].where(names.str.contains("_"), names),
    }
    import pandas as pd

    whole = complete_trials(pd.DataFrame(trials), len(table))
    space = VoxelSpace((len(voxels),), inside)
    return Recording(data, "fmri", label, whole, space), int((~shown).sum())


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    existing_file(path, "a table of THINGS-fMRI (.csv)")
    with reading(path, "a table of THINGS-fMRI (.csv)"):
        table = pd.read_csv(path)
    absent = [name for name in columns if name not in table]
    if absent:
        raise InputError(
            f"{path} has no column {', '.join(absent)}", f"the columns {', '.join(columns)}"
        )
    return table


def _region(voxels: pd.DataFrame, roi: str | None) -> Array:
    if roi is None:
        return np.arange(len(voxels))
    names = [name for name in roi.split(",") if name]
    absent = [name for name in names if name not in voxels]
    if absent:
        marks = [
            str(name)
            for name in voxels.columns
            if set(np.unique(voxels[name].fillna(0).astype(str))) <= {"0", "1", "0.0", "1.0"}
        ]
        raise InputError(
            f"there is no region {', '.join(absent)}",
            expected=f"among {', '.join(marks)}",
            remedy="name columns of the voxel metadata with --roi, separated by commas",
        )
    inside = np.flatnonzero((voxels[names].fillna(0).to_numpy(dtype=float) > 0).any(axis=1))
    if not len(inside):
        raise InputError(f"the region {roi} holds no voxel", "at least one")
    return inside


def _responses(path: Path, n_voxels: int, n_trials: int, inside: Array) -> Array:
    """Return the trials of some voxels (n_trials, n_inside) from pandas' fixed form of a table.

    Its numbers lie in blocks of one type, transposed: a row per row of the table. The block of
    trials has as many columns as there are trials, or one more where ``voxel_id`` is in it.
    """
    with reading(path, KIND), require("h5py", "nsd").File(path, "r") as file:
        found = []
        file.visititems(
            lambda name, item: (
                found.append(item)
                if name.rpartition("/")[2].endswith("_values") and getattr(item, "ndim", 0) == 2
                else None
            )
        )
        shapes = {n_voxels: (n_trials, n_trials + 1)}
        blocks = [
            item
            for item in found
            if item.shape[0] in shapes and item.shape[1] in shapes[item.shape[0]]
        ]
        if len(blocks) != 1 or blocks[0].dtype.kind not in "fi":
            raise InputError(
                f"{path} holds tables of the shapes {[item.shape for item in found]}",
                expected=f"{n_voxels} voxels x {n_trials} trials, the rows of the metadata",
                remedy="use the three files of one subject and release",
            )
        first = blocks[0].shape[1] - n_trials
        out = np.empty((n_trials, len(inside)), dtype=np.float32)
        for start in range(0, n_voxels, STEP):
            mine = np.flatnonzero((inside >= start) & (inside < start + STEP))
            if len(mine):
                rows = np.asarray(blocks[0][start : start + STEP, first:])
                out[:, mine] = rows[inside[mine] - start].T
        return out
