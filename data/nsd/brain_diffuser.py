"""NSD as Brain-Diffuser keeps it: means over repetitions as plain arrays.

``processed_data/subj01/nsd_{train,test}_fmriavg_nsdgeneral_sub1.npy`` (stored integers averaged, so
300 times percent signal change) and ``nsd_{train,test}_stim_sub1.npy`` (n, H, W, 3). Pictures stand
in the order of their first appearance, in 37 sessions; the files do not name them, so the design
of the experiment does where it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.nsd.bricks import array_rows
from phosphene.data.nsd.design import Design, find_design, read_design
from phosphene.data.nsd.facts import (
    HELD_BACK,
    N_TRIALS,
    SCALE,
    SESSIONS,
    TRIALS_PER_SESSION,
)
from phosphene.data.nsd.subject_part import SubjectPart
from phosphene.errors import InputError
from phosphene.storage import load_array
from phosphene.types import VoxelSpace

__all__ = ["is_brain_diffuser", "open_brain_diffuser"]

Array = np.ndarray[Any, Any]
PATTERN = "nsd_train_fmriavg_nsdgeneral_sub*.npy"


def is_brain_diffuser(source: Path) -> bool:
    """Whether a folder holds arrays of Brain-Diffuser."""
    return next(source.rglob(PATTERN), None) is not None


def open_brain_diffuser(source: Path, subject: str, *, pictures: bool = True) -> SubjectPart:
    """Open one subject, test pictures after training ones.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the design counts other pictures.
    """
    import pandas as pd

    number = int(subject)
    found = next(iter(sorted(source.rglob(f"nsd_train_fmriavg_nsdgeneral_sub{number}.npy"))), None)
    if found is None:
        raise InputError(
            f"{source} has no nsd_train_fmriavg_nsdgeneral_sub{number}.npy",
            expected=f"processed_data/subj{number:02d} of Brain-Diffuser",
            remedy="correct --subjects and --source",
        )
    names = {split: f"nsd_{split}_fmriavg_nsdgeneral_sub{number}.npy" for split in _SPLITS}
    parts = {split: load_array(found.with_name(name)) for split, name in names.items()}
    widths = {part.shape[1] if part.ndim == 2 else 0 for part in parts.values()}
    if len(widths) != 1 or 0 in widths:
        raise InputError(
            f"{found.parent} holds arrays of the shapes {[p.shape for p in parts.values()]}",
            expected="(pictures, voxels), as many voxels in both",
        )
    sizes = {split: len(part) for split, part in parts.items()}
    ids, counts = _identify(source, subject, sizes)
    trials = pd.DataFrame(
        {
            "session": 0,
            "run": "n/a",
            "trial": np.arange(1, len(ids) + 1),
            "nsd_id": ids,
            "shared": np.repeat([False, True], list(sizes.values())),
            "count": counts,
        }
    )
    n_train = sizes["train"]

    def read(rows: Array) -> Array:
        out = np.empty((len(rows), widths.copy().pop()), dtype=np.float32)
        for split, mine, shift in (
            ("train", rows < n_train, 0),
            ("test", rows >= n_train, n_train),
        ):
            out[mine] = np.asarray(parts[split][rows[mine] - shift], dtype=np.float32) / SCALE
        return out

    picture = _pictures(found, number, sizes) if pictures else None
    return SubjectPart(
        trials, read, VoxelSpace.columns(widths.copy().pop()), picture, averaged=True,
        facts={"betas": "means over repetitions, as Brain-Diffuser wrote them",
               "mask": "nsdgeneral"},
    )  # fmt: skip


_SPLITS = ("train", "test")


def _identify(source: Path, subject: str, sizes: dict[str, int]) -> tuple[Array, Array]:
    """Return the picture of every row and its number of trials, -1 and 1 without a design."""
    total = sum(sizes.values())
    path = find_design(source)
    if path is None:
        return np.full(total, -1), np.ones(total, dtype=int)
    design = read_design(path)
    for shown in _prefixes(design, subject):
        order, first, counts = np.unique(shown, return_index=True, return_counts=True)
        in_time = np.argsort(first)
        order, counts = order[in_time], counts[in_time]
        shared = np.isin(order, list(design.shared))
        if int((~shared).sum()) == sizes["train"] and int(shared.sum()) == sizes["test"]:
            rows = np.concatenate([np.flatnonzero(~shared), np.flatnonzero(shared)])
            return order[rows], counts[rows]
    raise InputError(
        f"the arrays of subject {subject} hold {sizes['train']} training and {sizes['test']} test "
        f"pictures, and {path} counts others",
        expected="the pictures shown in the first 37 sessions, or in all",
        remedy="use the arrays and the design of one subject, or move the design elsewhere",
    )


def _prefixes(design: Design, subject: str) -> list[Array]:
    """Return the trials that may have been averaged, as rows of the stimulus brick."""
    shown = design.shown(subject)
    if len(shown) != N_TRIALS:
        return [shown]
    released = SESSIONS.get(subject.lstrip("0"), 40)
    return [shown[: n * TRIALS_PER_SESSION] for n in (released - HELD_BACK, released)]


def _pictures(found: Path, number: int, sizes: dict[str, int]) -> Any:
    readers = {}
    for split in _SPLITS:
        path = found.with_name(f"nsd_{split}_stim_sub{number}.npy")
        if not path.is_file():
            raise InputError(
                f"there is no {path}",
                expected="the pictures, a row per row of the voxels",
                remedy="copy it there, or use --no-pictures",
            )
        if len(load_array(path)) != sizes[split]:
            raise InputError(
                f"{path} holds {len(load_array(path))} pictures", f"{sizes[split]}, one per row"
            )
        readers[split] = array_rows(path)
    n_train = sizes["train"]
    return lambda row: readers["train"](row) if row < n_train else readers["test"](row - n_train)
