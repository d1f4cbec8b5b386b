"""NSD as Brain-IT keeps it: means over repetitions of all subjects in one ``fmri_v2.npz``.

``type_sample`` says of each of the 73,000 pictures whether nobody (0), one subject (1) or every
subject (2) saw it. Rows of ``single_sub_fmri`` are the pictures of type 1 in that order, with
``single_sub`` their subject from 0; rows of ``multi_sub_fmri`` are those of type 2, the subjects'
voxels side by side. ``num_voxels_all_subjects.npy`` (or ``num_voxels_subjects``) counts these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.nsd.bricks import array_rows
from phosphene.data.nsd.stored_members import open_members
from phosphene.data.nsd.subject_part import SubjectPart
from phosphene.errors import InputError
from phosphene.storage import load_array
from phosphene.types import VoxelSpace

__all__ = ["is_brain_it", "open_brain_it"]

Array = np.ndarray[Any, Any]
NAME, COUNTS = "fmri_v2.npz", "num_voxels_all_subjects.npy"
KEYS = ("single_sub_fmri", "single_sub", "multi_sub_fmri", "type_sample")
STACKS = ("all_images_v2_{0}.npy", "nsd_images_{0}.npy")
SIZES = (425, 256, 224, 112)
ONE, EVERY = 1, 2


def is_brain_it(source: Path) -> bool:
    """Whether a folder holds the file of Brain-IT."""
    return next(source.rglob(NAME), None) is not None


def open_brain_it(source: Path, subject: str, *, pictures: bool = True) -> SubjectPart:
    """Open one subject, its own pictures before the shared ones.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the counts contradict one another.
    """
    import pandas as pd

    path = sorted(source.rglob(NAME))[0]
    members = open_members(path)
    absent = [key for key in KEYS if key not in members]
    if absent:
        raise InputError(f"{path} has no {', '.join(absent)}", f"the arrays {', '.join(KEYS)}")
    start, stop, total = _columns(source, members, subject)
    kind = np.asarray(members["type_sample"]).ravel().astype(int)
    owner = np.asarray(members["single_sub"]).ravel().astype(int)
    single, every = members["single_sub_fmri"], members["multi_sub_fmri"]
    own_ids, shared_ids = np.flatnonzero(kind == ONE), np.flatnonzero(kind == EVERY)
    if len(single) != len(own_ids) or len(owner) != len(single) or len(every) != len(shared_ids):
        raise InputError(
            f"{path} has {len(single)} and {len(every)} rows for {len(own_ids)} pictures of one "
            f"subject and {len(shared_ids)} of every subject",
            expected="a row per picture of that type",
            remedy="copy the file again",
        )
    if every.shape[1] != total:
        raise InputError(
            f"{path} has {every.shape[1]} columns of all subjects", f"{total}, the sum of counts"
        )
    mine = np.flatnonzero(owner == int(subject) - 1)
    if not len(mine):
        raise InputError(f"{path} has no picture of subject {subject}", "one of its subjects")
    # The rows of one subject are padded to the widest, unless they have the columns of all.
    own_columns = slice(start, stop) if single.shape[1] == total else slice(0, stop - start)
    trials = pd.DataFrame(
        {
            "session": 0,
            "run": "n/a",
            "trial": np.arange(1, len(mine) + len(shared_ids) + 1),
            "nsd_id": np.concatenate([own_ids[mine], shared_ids]),
            "shared": np.repeat([False, True], [len(mine), len(shared_ids)]),
            "count": 1,  # the file does not say how many it averaged
        }
    )
    n_own = len(mine)

    def read(rows: Array) -> Array:
        own = rows < n_own
        out = np.empty((len(rows), stop - start), dtype=np.float32)
        out[own] = single[mine[rows[own]]][:, own_columns]
        out[~own] = every[rows[~own] - n_own][:, start:stop]
        return out

    picture = _pictures(source, trials["nsd_id"].to_numpy()) if pictures else None
    return SubjectPart(
        trials, read, VoxelSpace.columns(stop - start), picture, averaged=True,
        facts={"betas": "means over repetitions, as Brain-IT packed them",
               "mask": "as Brain-IT packed them (fsaverage, Algonauts 2023)"},
    )  # fmt: skip


def _columns(source: Path, members: dict[str, Array], subject: str) -> tuple[int, int, int]:
    """Return where a subject's voxels begin and end among those of all, and their number."""
    beside = next(iter(sorted(source.rglob(COUNTS))), None)
    if beside is None and "num_voxels_subjects" not in members:
        raise InputError(
            f"{source} has no {COUNTS}", "the numbers of voxels of every subject", "copy it there"
        )
    counts = np.asarray(load_array(beside) if beside else members["num_voxels_subjects"])
    counts = counts.astype(int)
    counts = counts.sum(axis=1) if counts.ndim == 2 else counts.ravel()
    if int(subject) > len(counts):
        raise InputError(f"{beside} counts {len(counts)} subjects", f"subject {subject} as well")
    ends = np.cumsum(counts)
    place = int(subject) - 1
    return int(ends[place] - counts[place]), int(ends[place]), int(ends[-1])


def _pictures(source: Path, shown: Array) -> Any:
    names = [stack.format(size) for size in SIZES for stack in STACKS]
    path = next((found for name in names for found in sorted(source.rglob(name))), None)
    if path is None:
        raise InputError(
            f"{source} has none of {', '.join(names[2:4])}, ...",
            expected="a stack of all pictures, of which the shown ones are copied",
            remedy="copy it there, or use --no-pictures",
        )
    read = array_rows(path)
    return lambda row: read(int(shown[row]))
