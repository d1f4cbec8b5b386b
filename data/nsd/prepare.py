"""``phosphene prepare nsd``: any of its forms becomes one canonical dataset."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import phosphene
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.nsd.brain_diffuser import open_brain_diffuser
from phosphene.data.nsd.brain_it import open_brain_it
from phosphene.data.nsd.facts import SESSIONS, check_voxels, stimulus_name
from phosphene.data.nsd.forms import recognise
from phosphene.data.nsd.mindeye1 import open_mindeye1
from phosphene.data.nsd.mindeye2 import open_mindeye2
from phosphene.data.nsd.official import open_official, subject_mask
from phosphene.data.nsd.protocol import Chosen, assign_splits, check_test_set
from phosphene.data.nsd.subject_part import PART_COLUMNS, RowPictures, SubjectPart
from phosphene.data.pictures import picture_hash
from phosphene.data.prepare import Stimuli, write_subject
from phosphene.data.readers.regions import read_space
from phosphene.data.reliability import reliable_voxels
from phosphene.data.row_file import RowFile
from phosphene.data.session_scaling import standardise
from phosphene.errors import InputError, UsageError, check_option
from phosphene.progress import progress
from phosphene.schemas import PreparationFile
from phosphene.storage import TEMPORARY
from phosphene.trials import UNKNOWN, complete_trials
from phosphene.types import Recording, VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NsdSettings", "prepare_nsd"]

Array = np.ndarray[Any, Any]
LICENCE = "signed terms of use of NSD; must not be redistributed"
BLOCK = 256  # rows of means read at a time


@dataclass(frozen=True)
class NsdSettings:
    """Choices of a preparation.

    Attributes
    ----------
    protocol : {"1000", "982"}
    sessions, test_sessions : list of int, optional
        All by default; tests by default are those of the sessions that train.
    form : str, optional
        Where a folder holds several.
    betas, space : str, optional
        Version and space of the official layout.
    roi : str, optional
        Another region than nsdgeneral.
    stimuli : path, optional
        The stack of pictures, where it lies elsewhere.
    pictures : bool
        Whether the shown pictures are copied.
    average : bool
        One row per picture, the mean of its trials.
    validation : int
        Training pictures held out for validation.
    reliability : float, optional
        Voxels below this signal-to-noise ratio in training pictures are left out.
    dtype : {"float16", "float32"}
    seed : int
    """

    protocol: str = "1000"
    sessions: list[int] | None = None
    test_sessions: list[int] | None = None
    form: str | None = None
    betas: str | None = None
    space: str = "func1pt8mm"
    roi: str | None = None
    stimuli: Path | None = None
    pictures: bool = True
    average: bool = False
    validation: int = 0
    reliability: float | None = None
    dtype: Literal["float16", "float32"] = "float32"
    seed: int = 0


def prepare_nsd(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    subjects: list[str],
    settings: NsdSettings | None = None,
) -> tuple[CanonicalDataset, str, list[str]]:
    """Read NSD in the form that ``source`` holds and write a canonical dataset.

    Every session is z-scored per voxel with its training trials alone. Means, asked for or as
    the form holds them, are z-scored once more over training pictures.

    Returns
    -------
    dataset : CanonicalDataset
    form : str
    notes : list of str
        What a user has to know.

    Raises
    ------
    InputError
        If files are missing, damaged or malicious, or contradict the design or known counts.
    """
    chosen = settings or NsdSettings()
    folder, root = Path(source), Path(output)
    form = recognise(folder, chosen.form)
    labels = [_label(subject) for subject in subjects]
    dataset: CanonicalDataset | None = None
    notes: list[str] = []
    for label in dict.fromkeys(labels):
        part = _open(form, folder, label, chosen)
        splits = assign_splits(
            part, label, protocol=chosen.protocol, form=form, sessions=chosen.sessions,
            test_sessions=chosen.test_sessions, validation=chosen.validation, seed=chosen.seed,
        )  # fmt: skip
        check_test_set(part, splits, label, chosen.protocol)
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=root.parent) as scratch:
            recording = _recording(part, splits, label, chosen, Path(scratch))
            stimuli, recording = _stimuli(part, recording)
            dataset = write_subject(
                root, recording.recording, stimuli, name="nsd", licence=LICENCE,
                source=f"nsd ({form})", dtype=chosen.dtype,
            )  # fmt: skip
        notes += [note for note in splits.notes if note not in notes]
        _note(root, form, chosen, label, recording.recording, part)
    if dataset is None:
        raise UsageError("no subject was named", expected="--subjects 01 02 05 07")
    return dataset, form, notes


def _label(subject: str) -> str:
    number = subject.removeprefix("sub-").removeprefix("subj").removeprefix("S").lstrip("0")
    check_option("subjects", number, SESSIONS)
    return f"{int(number):02d}"


def _open(form: str, source: Path, label: str, settings: NsdSettings) -> SubjectPart:
    if form == "official":
        wanted = settings.sessions
        if wanted is not None and settings.test_sessions is not None:
            wanted = sorted({*wanted, *settings.test_sessions})
        return open_official(
            source, label, sessions=wanted, betas=settings.betas, space=settings.space,
            roi=settings.roi, stimuli=settings.stimuli, pictures=settings.pictures,
        )  # fmt: skip
    for name, value in (("betas", settings.betas), ("stimuli", settings.stimuli)):
        if value is not None:
            raise UsageError(f"--{name} with the form {form}", "the official layout of NSD")
    if form == "mindeye2":
        part = open_mindeye2(source, label, protocol=settings.protocol, pictures=settings.pictures)
    else:
        opener: Any = {
            "mindeye1": open_mindeye1,
            "brain-diffuser": open_brain_diffuser,
            "brain-it": open_brain_it,
        }[form]
        part = opener(source, label, pictures=settings.pictures)
    return _placed(part, source, label, settings)


def _placed(part: SubjectPart, source: Path, label: str, settings: NsdSettings) -> SubjectPart:
    """Return the part with the places of its voxels, where a mask of as many lies beside it."""
    mask = settings.roi or subject_mask(source, label, settings.space)
    if mask is None:
        return part
    space = read_space(str(mask))
    if space.n_voxels == part.space.n_voxels:
        return replace(part, space=space)
    if settings.roi is not None:
        raise InputError(
            f"{mask} has {space.n_voxels} voxels and the files of subject {label} "
            f"{part.space.n_voxels}",
            expected="the mask by which the files were made",
            remedy="leave --roi out: a packed form cannot be cut to another region",
        )
    check_voxels(label, part.space.n_voxels, space.grid_shape, "the packed file")
    return part


@dataclass(frozen=True, eq=False)
class _Made:
    """A recording, and the row of the part whose picture each trial shows."""

    recording: Recording
    rows: Array


def _recording(
    part: SubjectPart, chosen: Chosen, label: str, settings: NsdSettings, scratch: Path
) -> _Made:
    rows = np.flatnonzero(chosen.kept)
    with RowFile(scratch / "rows.f32", part.space.n_voxels) as file:
        for block in _blocks(part, chosen, rows, label):
            file.append(block)
        data: Array = file.read()
        training = chosen.split[rows] == "train"
        pictures = part.trials["nsd_id"].to_numpy()[rows]
        space, counts = part.space, part.trials["count"].to_numpy()[rows]
        if settings.reliability is not None:
            if part.averaged:
                raise UsageError(
                    "--reliability with a form of means", "a form that keeps single trials"
                )
            kept = reliable_voxels(data, pictures, training, settings.reliability)
            space = VoxelSpace(space.grid_shape, space.indices[kept], space.affine)
            data = file.keep_columns(scratch / "kept.f32", kept).read()
        if settings.average and not part.averaged:
            rows, data, counts = _average(data, rows, pictures)
        if settings.average or part.averaged:
            if (part.trials["nsd_id"].to_numpy()[rows] >= 0).all():
                order = np.argsort(part.trials["nsd_id"].to_numpy()[rows], kind="stable")
                rows, data, counts = rows[order], np.asarray(data)[order], counts[order]
            training = chosen.split[rows] == "train"
            data = standardise(np.asarray(data), training, where=f"subject {label}")
    table = _table(part, chosen, rows, counts, averaged=settings.average or part.averaged)
    return _Made(Recording(data, "fmri", label, table, space), rows)


def _blocks(part: SubjectPart, chosen: Chosen, rows: Array, label: str) -> Any:
    """Yield blocks of the rows in order, sessions z-scored by their own training trials."""
    if part.averaged:
        for start in range(0, len(rows), BLOCK):
            yield part.read(rows[start : start + BLOCK])
        return
    session = part.trials["session"].to_numpy()
    wanted = list(dict.fromkeys(session[rows].tolist()))
    for number in progress(wanted, label=f"sessions of subject {label}", total=len(wanted)):
        mine = np.flatnonzero((session == number) & (chosen.split != ""))
        block = standardise(
            part.read(mine), chosen.split[mine] == "train", where=f"session {number}"
        )
        yield block[chosen.kept[mine]]


def _average(data: Array, rows: Array, pictures: Array) -> tuple[Array, Array, Array]:
    """Return the first row, the mean and the number of trials of every picture."""
    _, first, codes, counts = np.unique(
        pictures, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(first), data.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        np.add.at(sums, codes[start : start + BLOCK], data[start : start + BLOCK])
    return rows[first], sums / counts[:, None].astype(np.float32), counts


def _table(
    part: SubjectPart, chosen: Chosen, rows: Array, counts: Array, *, averaged: bool
) -> pd.DataFrame:
    table = part.trials.iloc[rows].reset_index(drop=True)
    extra = [name for name in table.columns if name not in PART_COLUMNS]
    made = table[["nsd_id", *extra]].copy()
    made["session"] = (
        UNKNOWN if averaged else [f"{n:02d}" if n else UNKNOWN for n in table["session"]]
    )
    made["run"] = UNKNOWN if averaged else table["run"]
    made["trial"] = np.arange(1, len(table) + 1) if averaged else table["trial"]
    made["stimulus_id"] = [
        UNKNOWN if number < 0 else stimulus_name(number) for number in table["nsd_id"]
    ]
    made["split"] = chosen.split[rows].astype(str)
    if averaged:
        made["repetition"] = counts
    return complete_trials(made, len(made))


def _stimuli(part: SubjectPart, made: _Made) -> tuple[Stimuli | None, _Made]:
    """Return the pictures by name; where a form does not name them, their content does."""
    trials = made.recording.trials
    names = trials["stimulus_id"].to_numpy().astype(object)
    if part.picture is None:
        if (names == UNKNOWN).any():
            raise InputError(
                "the files do not name their pictures, and pictures are not to be copied",
                expected="nsd_expdesign.mat somewhere in the source, or the pictures",
                remedy="leave --no-pictures out, or put the design beside the files",
            )
        return None, made
    unnamed = np.flatnonzero(names == UNKNOWN)
    for row in unnamed:
        names[row] = f"picture-{picture_hash(part.picture(int(made.rows[row])))[:12]}"
    if len(unnamed):
        trials = trials.assign(stimulus_id=names.astype(str))
        made = _Made(replace(made.recording, trials=trials), made.rows)
    first = {str(name): row for row, name in reversed(list(enumerate(names.tolist())))}
    rows = [int(made.rows[row]) for row in first.values()]
    pictures: Any = RowPictures(rows, part.picture)
    return (list(first), pictures), made


def _note(
    root: Path,
    form: str,
    settings: NsdSettings,
    label: str,
    recording: Recording,
    part: SubjectPart,
) -> None:
    """Write how the subject was prepared into ``preparation.json``."""
    path = root / "preparation.json"
    before = PreparationFile.load(path).subjects if path.is_file() else {}
    splits = recording.trials["split"]
    averaged = settings.average or part.averaged
    facts: dict[str, Any] = dict(part.facts)
    facts |= {f"n_{name}": int(count) for name, count in splits.value_counts().items()}
    facts["n_test_pictures"] = int(recording.trials.loc[splits == "test", "stimulus_id"].nunique())
    facts["n_voxels"] = int(recording.data.shape[1])
    if not averaged:
        facts["sessions"] = [
            int(name) for name in dict.fromkeys(recording.trials["session"]) if name != UNKNOWN
        ]
    facts["normalisation"] = (
        "none by session; z-scored over training pictures"
        if part.averaged
        else "z-scored by session with training trials"
        + ("; means z-scored over training pictures" if averaged else "")
    )
    PreparationFile(
        dataset="nsd",
        form=form,
        settings={
            "protocol": settings.protocol,
            "sessions": settings.sessions,
            "test_sessions": settings.test_sessions,
            "average": averaged,
            "validation": settings.validation,
            "seed": settings.seed,
            "reliability": settings.reliability,
        },
        subjects={**before, label: facts},
        created_with=f"phosphene {phosphene.__version__}",
    ).save(path)
