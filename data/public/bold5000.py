"""``phosphene prepare bold5000``: release 2, betas of GLMsingle a file per session.

``CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-01.nii.gz`` ..., ``CSI1_brainmask.nii.gz`` and
``CSI1_imgnames.txt`` (a name per trial of all sessions in order), anywhere below the folder, and
pictures in ``BOLD5000_Stimuli``. Pictures that were repeated test, as is usual with this dataset
(113 for the complete subjects); the others, shown once, train.

The affine of the betas is wrong in the released files: they are compared with the mask by their
shape, and lie where the mask says.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.public import not_here
from phosphene.data.public.writing import (
    PublicSettings,
    picture_files,
    standardised,
    write_public,
)
from phosphene.data.readers.damage import reading
from phosphene.data.readers.nifti import open_volumes
from phosphene.data.readers.regions import read_space
from phosphene.errors import InputError
from phosphene.trials import complete_trials
from phosphene.types import Recording

__all__ = ["prepare_bold5000"]

Array = np.ndarray[Any, Any]
BETAS = re.compile(r"(CSI\d)_GLMbetas-(TYPE[A-Z-]+?)_ses-(\d+)\.nii(?:\.gz)?")
RECOMMENDED = "TYPED-FITHRF-GLMDENOISE-RR"
SESSIONS = {"CSI1": 15, "CSI2": 15, "CSI3": 15, "CSI4": 9}
PER_RUN = 37
LICENCE = "see bold5000.org; pictures under the terms of SUN, COCO and ImageNet"


def prepare_bold5000(
    source: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    settings: PublicSettings,
) -> tuple[CanonicalDataset, list[str]]:
    """Read a local copy of the betas and write a canonical dataset.

    Raises
    ------
    AssetError
        Without a folder: how the dataset is obtained.
    InputError
        If files are missing or damaged, or counts contradict one another.
    """
    if source is None:
        raise not_here("bold5000", "there is no fetcher for it")
    folder = Path(source)
    found = _find(folder)
    notes: list[str] = []
    dataset: CanonicalDataset | None = None
    for subject in _chosen(found, settings.subjects, folder):
        sessions = found[subject]
        if len(sessions) != SESSIONS.get(subject, len(sessions)):
            notes.append(f"{subject}: {len(sessions)} of {SESSIONS[subject]} sessions are there")
        recording = _recording(folder, subject, sessions, settings.roi)
        recording, said = standardised(recording)
        notes += said
        names = recording.trials["stimulus_id"].tolist()
        stimuli = picture_files(settings.stimuli or folder, names) if settings.pictures else None
        dataset = write_public(
            output, recording, stimuli, settings, name="bold5000", form="release 2 betas",
            licence=LICENCE, facts={"sessions": sorted(sessions)},
        )  # fmt: skip
    assert dataset is not None
    return dataset, notes


def _find(folder: Path) -> dict[str, dict[int, Path]]:
    """Return the files of every subject by session, of the recommended version where it is."""
    versions: dict[str, dict[str, dict[int, Path]]] = {}
    for path in sorted(folder.rglob("CSI*_GLMbetas-*_ses-*.nii*")):
        match = BETAS.fullmatch(path.name)
        if match:
            own = versions.setdefault(match[1], {}).setdefault(match[2], {})
            own[int(match[3])] = path
    if not versions:
        raise InputError(
            f"{folder} holds no betas of BOLD5000",
            expected=f"CSI1_GLMbetas-{RECOMMENDED}_ses-01.nii.gz and following",
            remedy="name the folder of the release with --source",
        )
    return {
        subject: own.get(RECOMMENDED, next(iter(own.values()))) for subject, own in versions.items()
    }


def _chosen(found: dict[str, Any], wanted: list[str] | None, folder: Path) -> list[str]:
    if not wanted:
        return sorted(found)
    labels = [f"CSI{label.upper().removeprefix('CSI').lstrip('0')}" for label in wanted]
    absent = [label for label in labels if label not in found]
    if absent:
        raise InputError(
            f"{folder} has no subject {', '.join(absent)}", f"among {', '.join(sorted(found))}"
        )
    return labels


def _recording(folder: Path, subject: str, sessions: dict[int, Path], roi: str | None) -> Recording:
    import pandas as pd

    mask = roi or _single(folder, f"{subject}_brainmask.nii*", "the mask of its brain")
    space = read_space(str(mask))
    names = _names(folder, subject)
    blocks, rows = [], []
    done = 0
    for session, path in sorted(sessions.items()):
        volumes = open_volumes(path)
        if volumes.grid_shape != tuple(space.grid_shape):
            raise InputError(
                f"{path} has {volumes.grid_shape} voxels",
                expected=f"{tuple(space.grid_shape)}, as {mask}",
                remedy="use betas and mask of one release and space",
            )
        if done + volumes.n_volumes > len(names):
            raise InputError(
                f"{path} ends with trial {done + volumes.n_volumes}",
                expected=f"{len(names)} trials, the lines of {subject}_imgnames.txt",
                remedy="complete the download: the list counts all sessions in order",
            )
        blocks.append(volumes.read(space.indices))
        for trial in range(volumes.n_volumes):
            rows.append((f"{session:02d}", f"{trial // PER_RUN + 1:02d}", trial + 1))
        done += volumes.n_volumes
    if sorted(sessions) != list(range(1, len(sessions) + 1)) or (
        len(sessions) == SESSIONS.get(subject) and done != len(names)
    ):
        raise InputError(
            f"{len(sessions)} sessions of {subject} hold {done} trials for {len(names)} names",
            expected="sessions 1, 2, ... without a gap, and a name per trial",
            remedy="complete the download",
        )
    data = np.concatenate(blocks)
    alive = np.isfinite(data).all(axis=0) & (data != 0).any(axis=0)
    if not alive.any():
        raise InputError(f"no voxel of {mask} holds data in every session of {subject}", "a mask")
    from phosphene.types import VoxelSpace

    space = VoxelSpace(space.grid_shape, space.indices[alive], space.affine)
    table = pd.DataFrame(rows, columns=["session", "run", "trial"])
    table["stimulus_id"] = names[:done]
    # Of the whole list: a picture whose repetitions are in sessions not here must not train.
    counts = pd.Series(names).value_counts()
    table["split"] = np.where(table["stimulus_id"].map(counts) > 1, "test", "train")
    if (table["split"] == "test").all() or (table["split"] == "train").all():
        raise InputError(
            f"the pictures of {subject} were all shown {'more than ' * (counts.min() > 1)}once",
            expected="most shown once and some repeated",
            remedy="use the official list of names",
        )
    return Recording(data[:, alive], "fmri", subject, complete_trials(table, done), space)


def _names(folder: Path, subject: str) -> list[str]:
    path = _single(folder, f"{subject}_imgnames.txt", "the name of each trial's picture")
    with reading(path, "a list of names, one a line"):
        lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.strip().removeprefix("rep_") for line in lines if line.strip()]
    return [Path(name).stem for name in names]


def _single(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.rglob(pattern))
    if not found:
        raise InputError(
            f"{folder} has no {pattern.rstrip('*')}", f"{what}", "copy it there from the release"
        )
    return found[0]
