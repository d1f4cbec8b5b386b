"""Folders in BIDS form: single-trial betas, one volume per row of their events table.

``sub-01/ses-01/func/sub-01_ses-01_task-scenes_run-01_desc-betas_bold.nii.gz`` goes with
``..._events.tsv`` of the same subject, session, task and run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.data.readers.grids import check_grid
from phosphene.data.readers.nifti import VolumeFile, open_volumes
from phosphene.data.readers.tables import read_trials
from phosphene.errors import InputError
from phosphene.trials import UNKNOWN
from phosphene.types import VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BetasFile", "find_betas", "open_betas", "read_betas", "read_events"]

Array = np.ndarray[Any, Any]

BETAS = re.compile(r"_desc-betas_(bold|statmap|betas)\.nii(\.gz)?$|_betas\.nii(\.gz)?$")
RAW = re.compile(r"_bold\.nii(\.gz)?$")
# Entities that tell derivatives of one acquisition apart; events do not depend on them.
DERIVED = ("desc", "space", "res", "den", "hemi")


@dataclass(frozen=True)
class BetasFile:
    """A file of single-trial betas and its BIDS entities.

    Parameters
    ----------
    path : Path
    entities : dict
        Such as ``{"sub": "01", "ses": "02", "task": "scenes", "desc": "betas"}``.
    """

    path: Path
    entities: dict[str, str]

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> BetasFile:
        """Read the entities in a file's name."""
        return cls(Path(path), _entities(Path(path).name))

    @property
    def is_betas(self) -> bool:
        """Whether the name says single-trial betas, rather than a raw series or anything else."""
        return BETAS.search(self.path.name) is not None

    def find_events(self) -> Path | None:
        """Return the table beside the file that describes its volumes, if there is one."""
        wanted = {k: v for k, v in self.entities.items() if k not in DERIVED}
        found = [
            candidate
            for candidate in sorted(self.path.parent.glob("*_events.tsv"))
            if {k: v for k, v in _entities(candidate.name).items() if k not in DERIVED} == wanted
        ]
        # A table of the betas themselves goes before that of the series they came from.
        found.sort(key=lambda file: _entities(file.name).get("desc") != self.entities.get("desc"))
        return found[0] if found else None


def _entities(name: str) -> dict[str, str]:
    pairs = (part.split("-", 1) for part in name.split("_") if "-" in part)
    return {key: value.split(".")[0] for key, value in pairs}


def find_betas(folder: str | os.PathLike[str], subject: str) -> list[BetasFile]:
    """Find a subject's betas below a dataset, a derivative, or a ``sub-``, ``ses-`` or func folder.

    Returns
    -------
    list of BetasFile
        In the order of session, task and run.

    Raises
    ------
    InputError
        If the subject is not there (naming those that are), only raw series are, or the same
        betas are there in several spaces or pipelines.
    """
    root = Path(folder)
    with reading(root, "a folder in BIDS form"):
        places = [place for place in _func_folders(root, subject) if place.is_dir()]
        files = sorted(
            file
            for place in places
            for file in place.iterdir()
            if file.name.startswith(f"sub-{subject}_")
        )
        if not files:
            _raise_no_subject(root, subject)
    betas = [parsed for file in files if (parsed := BetasFile.parse(file)).is_betas]
    if not betas:
        raw = [file for file in files if RAW.search(file.name)]
        raise InputError(
            f"{root} has {len(raw)} raw series of subject {subject} and no single-trial betas"
            if raw
            else f"{root} has no single-trial betas of subject {subject}",
            expected=f"files such as sub-{subject}_task-NAME_desc-betas_bold.nii.gz, a volume per "
            "trial",
            remedy="estimate them first, for example by nilearn's FirstLevelModel with one "
            "regressor per trial, and save them under such a name",
        )
    _check_unambiguous(root, betas)
    return sorted(betas, key=_order)


def _func_folders(root: Path, subject: str) -> list[Path]:
    name = root.absolute().name
    if name == "func":
        return [root]
    if name.startswith("ses-"):
        return [root / "func"]
    if name.startswith("sub-"):
        label = name.removeprefix("sub-")
        if label != subject:
            raise InputError(
                f"{root} is the folder of subject {label}",
                expected=f"data of subject {subject}",
                remedy=f"give --subject {label}, or the folder of subject {subject}",
            )
        return [root / "func", *sorted(root.glob("ses-*/func"))]
    homes = [root / f"sub-{subject}", *sorted(root.glob(f"derivatives/*/sub-{subject}"))]
    return [func for home in homes for func in _func_folders(home, subject)]


def _raise_no_subject(root: Path, subject: str) -> None:
    patterns = ("sub-*", "func/sub-*", "derivatives/*/sub-*")
    names = {item.name.split("_")[0] for pattern in patterns for item in root.glob(pattern)}
    labels = sorted(label for name in names if (label := name.removeprefix("sub-")).isalnum())
    raise InputError(
        f"{root} has no functional data of subject {subject}",
        expected=f"one of its subjects: {', '.join(labels)}"
        if labels
        else "a folder in BIDS form, sub-<label>[/ses-<label>]/func",
        remedy="check --subject and the folder",
    )


def _check_unambiguous(root: Path, betas: list[BetasFile]) -> None:
    seen: dict[str, Path] = {}
    for file in betas:
        acquisition = str(sorted((k, v) for k, v in file.entities.items() if k not in DERIVED))
        if acquisition in seen:
            raise InputError(
                f"{root} has the same betas twice: {seen[acquisition]} and {file.path}",
                expected="one file per session, task and run",
                remedy="give the folder of one pipeline, with the betas in one space",
            )
        seen[acquisition] = file.path


def _order(file: BetasFile) -> tuple[tuple[int, str], ...]:
    """Sort by session, task and run; labels that are numbers by their value."""
    labels = (file.entities.get(key, "") for key in ("ses", "task", "acq", "run"))
    return tuple((int(label) if label.isdigit() else -1, label) for label in labels)


def open_betas(betas: Sequence[BetasFile], space: VoxelSpace) -> list[VolumeFile]:
    """Read the headers of every file and refuse those that are not on the grid of ``space``."""
    opened = [open_volumes(file.path) for file in betas]
    for volumes in opened:
        check_grid(str(volumes.path), volumes.grid_shape, volumes.affine, space)
    return opened


def read_betas(opened: Sequence[VolumeFile], space: VoxelSpace) -> Array:
    """Read the voxels of ``space`` from every file, (n_trials, n_voxels) float32 in that order."""
    n_trials = sum(volumes.n_volumes for volumes in opened)
    with reading(opened[0].path, "betas in volumes"):
        data = np.empty((n_trials, space.n_voxels), dtype=np.float32)
    start = 0
    for volumes in opened:
        volumes.read(space.indices, out=data[start : start + volumes.n_volumes])
        start += volumes.n_volumes
    return data


def read_events(betas: Sequence[BetasFile], counts: Sequence[int]) -> pd.DataFrame:
    """Read the events of every file as one table; row k of a table is volume k.

    Session and run come from the table's columns, else from the file's name. A stimulus
    without ``stimulus_id`` is known by the name of its ``stim_file``.

    Raises
    ------
    InputError
        If a table is missing or has another number of rows than its file has volumes.
    """
    import pandas as pd

    tables = []
    for file, count in zip(betas, counts, strict=True):
        events = file.find_events()
        if events is None:
            raise InputError(
                f"there is no events table for {file.path}",
                expected="a file of the same name ending in _events.tsv, with a row per volume",
                remedy="add it, or give a table of all trials with --trials",
            )
        table = read_trials(events)
        if len(table) != count:
            raise InputError(
                f"{events} has {len(table)} rows and {file.path} has {count} volumes",
                expected="a row per volume: row k describes volume k",
                remedy="write the events of the trials that have betas, in the order of the betas",
            )
        for column, entity in (("session", "ses"), ("run", "run")):
            if column not in table:
                table[column] = file.entities.get(entity, "01")
        if "stimulus_id" not in table and "stim_file" in table:
            names = table["stim_file"].fillna(UNKNOWN)
            table["stimulus_id"] = [name if name == UNKNOWN else Path(name).stem for name in names]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
