"""What all readers of public datasets do with a recording they have read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

import phosphene
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import PICTURE_SUFFIXES, PictureFiles
from phosphene.data.prepare import Stimuli, write_subject
from phosphene.data.reliability import reliable_voxels
from phosphene.data.session_scaling import scale_groups
from phosphene.errors import InputError
from phosphene.schemas import PreparationFile
from phosphene.types import Recording, VoxelSpace

__all__ = ["PublicSettings", "picture_files", "standardised", "write_public"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PublicSettings:
    """Choices that all of these datasets share.

    Attributes
    ----------
    subjects : list of str, optional
        All by default.
    roi : str, optional
        A region; what it may be depends on the dataset.
    stimuli : path, optional
        Folder of the pictures, where they lie elsewhere.
    pictures : bool
        Whether shown pictures are copied.
    reliability : float, optional
    dtype : {"float16", "float32"}
    """

    subjects: list[str] | None = None
    roi: str | None = None
    stimuli: Path | None = None
    pictures: bool = True
    reliability: float | None = None
    dtype: Literal["float16", "float32"] = "float32"


def standardised(recording: Recording) -> tuple[Recording, list[str]]:
    """Return the recording z-scored by session with its training trials, and what was special."""
    training = (recording.trials["split"] == "train").to_numpy()
    data, lacking = scale_groups(
        np.asarray(recording.data), recording.trials["session"].tolist(), training
    )
    notes = []
    if lacking:
        notes.append(
            f"{len(lacking)} sessions without training trials were z-scored with all training "
            "trials"
        )
    return replace(recording, data=data), notes


def picture_files(folder: Path, names: list[str]) -> Stimuli:
    """Return the pictures with these names, found anywhere below a folder by name without ending.

    Raises
    ------
    InputError
        If one is missing.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            files.setdefault(path.stem, path)
    wanted = list(dict.fromkeys(names))
    absent = [name for name in wanted if name not in files]
    if absent:
        raise InputError(
            f"{folder} has no picture {absent[0]} ({len(absent)} of {len(wanted)} are missing)",
            expected="every picture that was shown, somewhere below that folder",
            remedy="name their folder with --stimuli, or use --no-pictures",
        )
    return wanted, cast(Any, PictureFiles([files[name] for name in wanted]))


def write_public(
    root: str | os.PathLike[str],
    recording: Recording,
    stimuli: Stimuli | None,
    settings: PublicSettings,
    *,
    name: str,
    form: str,
    licence: str,
    facts: dict[str, Any],
) -> CanonicalDataset:
    """Choose reliable voxels where asked, write the subject and how it was prepared."""
    space = recording.space
    if settings.reliability is not None and space is not None:
        training = (recording.trials["split"] == "train").to_numpy()
        kept = reliable_voxels(
            recording.data, recording.trials["stimulus_id"].to_numpy(), training,
            settings.reliability,
        )  # fmt: skip
        chosen = VoxelSpace(space.grid_shape, space.indices[kept], space.affine)
        recording = replace(recording, data=np.asarray(recording.data[:, kept]), space=chosen)
    dataset = write_subject(
        root, recording, stimuli, name=name, licence=licence, source=f"{name} ({form})",
        dtype=settings.dtype,
    )  # fmt: skip
    path = Path(root) / "preparation.json"
    before = PreparationFile.load(path).subjects if path.is_file() else {}
    counts = recording.trials["split"].value_counts()
    told = {f"n_{split}": int(count) for split, count in counts.items()}
    PreparationFile(
        dataset=name,
        form=form,
        settings={"roi": settings.roi, "reliability": settings.reliability},
        subjects={
            **before,
            recording.subject: {**told, "n_voxels": int(recording.data.shape[1]), **facts},
        },
        created_with=f"phosphene {phosphene.__version__}",
    ).save(path)
    return dataset
