"""``phosphene prepare bids``: BOLD series with events become single-trial betas in a dataset."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import phosphene
from phosphene.data.bold.betas_form import write_betas
from phosphene.data.bold.confounds import read_confounds
from phosphene.data.bold.events import mark_tests, read_run_events
from phosphene.data.bold.masks import run_space
from phosphene.data.bold.runs import BoldRun, find_runs, find_subjects
from phosphene.data.bold.single_trials import beta_weights, percent_change
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.prepare import write_subject
from phosphene.data.readers.grids import check_grid
from phosphene.data.readers.nifti import open_volumes
from phosphene.data.reliability import reliable_voxels
from phosphene.data.row_file import RowFile
from phosphene.data.session_scaling import scale_groups
from phosphene.errors import InputError, UsageError, check_option
from phosphene.names import check_subject
from phosphene.progress import progress
from phosphene.schemas import PreparationFile
from phosphene.storage import TEMPORARY, check_new_folder
from phosphene.trials import TRIAL_COLUMNS, UNKNOWN, complete_trials
from phosphene.types import Recording, VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BidsSettings", "prepare_bids", "single_trial_betas"]

Array = np.ndarray[Any, Any]
NORMALISATIONS = ("none", "run", "session")
ONLY_TRAINING = (
    "every trial is of training: mark test trials with --test COLUMN=PATTERN, or nothing can be "
    "judged honestly"
)


@dataclass(frozen=True)
class BidsSettings:
    """Choices of a preparation.

    Attributes
    ----------
    task : str
    model : {"lss", "lsa"}
    space : str, optional
        Of fMRIPrep's series, where there are several.
    raw : path, optional
        The dataset with the events, where ``source`` is a derivative elsewhere.
    roi : str, optional
        Mask or atlas; by default the voxels that are in the brain mask of every run.
    confounds : str
        See :func:`read_confounds`.
    hrf : str
    high_pass : float
        Hertz.
    tr : float, optional
        Seconds, in place of what sidecars and headers say.
    stimulus_column : str, optional
    kinds : list of str, optional
        Kinds of events that are trials.
    test : list of str, optional
        ``COLUMN=PATTERN`` of test trials.
    normalise : {"session", "run", "none"}
        Within what voxels are z-scored, with training trials alone.
    stimuli : str, optional
        Folder of pictures named as the stimuli are.
    reliability : float, optional
    betas : path, optional
        A new folder for test trials in BIDS form, which ``reconstruct`` reads.
    name, licence : str
    dtype : {"float16", "float32"}
    """

    task: str
    model: str = "lss"
    space: str | None = None
    raw: Path | None = None
    roi: str | None = None
    confounds: str = "auto"
    hrf: str = "glover"
    high_pass: float = 0.01
    tr: float | None = None
    stimulus_column: str | None = None
    kinds: list[str] | None = None
    test: list[str] | None = None
    normalise: str = "session"
    stimuli: str | None = None
    reliability: float | None = None
    betas: Path | None = None
    name: str | None = None
    licence: str = "unknown"
    dtype: Literal["float16", "float32"] = "float32"


def prepare_bids(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    subjects: list[str] | None,
    settings: BidsSettings,
) -> tuple[CanonicalDataset, list[str]]:
    """Estimate single-trial betas of a task and write them as a canonical dataset.

    Returns
    -------
    dataset : CanonicalDataset
    notes : list of str
        What a user has to know.

    Raises
    ------
    InputError
        If series, events or masks are missing, damaged or do not go together.
    UsageError
        If an option is unknown.
    """
    check_option("normalise", settings.normalise, NORMALISATIONS)
    if settings.betas is not None:
        check_new_folder(settings.betas)
    folder, root = Path(source), Path(output)
    labels = [check_subject(label) for label in subjects or find_subjects(folder, settings.raw)]
    if not labels:
        raise InputError(f"{folder} has no subject", "sub-01/func or sub-01/ses-01/func")
    dataset: CanonicalDataset | None = None
    notes: list[str] = []
    for label in dict.fromkeys(labels):
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=root.parent) as scratch:
            recording, said = single_trial_betas(folder, label, settings, Path(scratch))
            dataset = write_subject(
                root, recording, settings.stimuli, name=settings.name or folder.resolve().name,
                licence=settings.licence, source=f"{settings.task} ({settings.model})",
                dtype=settings.dtype,
            )  # fmt: skip
            if settings.betas is not None:
                write_betas(settings.betas, recording, settings.task)
        notes += [note for note in said if note not in notes]
        _note(root, settings, label, recording, said)
    assert dataset is not None
    return dataset, notes


def single_trial_betas(
    source: Path, subject: str, settings: BidsSettings, scratch: Path
) -> tuple[Recording, list[str]]:
    """Return the betas of a subject, rows in the order of sessions, runs and onsets.

    ``recording.data`` may be mapped from a file in ``scratch``.
    """
    runs = find_runs(
        source, subject, settings.task, space=settings.space, raw=settings.raw, tr=settings.tr
    )
    space, notes = run_space(source, subject, runs, settings.roi)
    with RowFile(scratch / "betas.f32", space.n_voxels) as file:
        tables, alive = [], np.ones(space.n_voxels, dtype=bool)
        named = True
        for run in progress(runs, label=f"runs of subject {subject}", total=len(runs)):
            betas, table, live, said, names = _run_betas(run, space, settings)
            file.append(betas)
            tables.append(table)
            alive &= live
            named &= names
            notes += [note for note in said if note not in notes]
        trials = _trials(tables)
        trials, rule = mark_tests(trials, settings.test)
        trials = complete_trials(trials, len(trials))
        data: Array = file.read()
        kept = np.flatnonzero(alive)
        if not len(kept):
            raise InputError(
                f"no voxel of {space.n_voxels} varies in every run of subject {subject}",
                expected="a mask inside the field of view",
                remedy="choose another one with --roi",
            )
        if len(kept) < space.n_voxels:
            notes.append(
                f"{space.n_voxels - len(kept)} of {space.n_voxels} voxels left out: without "
                "signal in some run"
            )
            space = VoxelSpace(space.grid_shape, space.indices[kept], space.affine)
            data = file.keep_columns(scratch / "alive.f32", kept).read()
    data, said = _normalised(data, trials, settings.normalise)
    notes += said
    if settings.reliability is not None:
        training = (trials["split"] == "train").to_numpy()
        kept = reliable_voxels(
            data, trials["stimulus_id"].to_numpy(), training, settings.reliability
        )
        notes.append(f"{len(kept)} of {space.n_voxels} voxels are reliable enough")
        space = VoxelSpace(space.grid_shape, space.indices[kept], space.affine)
        data = np.asarray(data[:, kept])
    if not named:
        notes.append(
            "events name conditions and not pictures: nothing can be said about single pictures"
        )
    notes.append(f"test trials by {rule}" if rule else ONLY_TRAINING)
    return Recording(data, "fmri", subject, trials, space), notes


def _run_betas(
    run: BoldRun, space: VoxelSpace, settings: BidsSettings
) -> tuple[Array, pd.DataFrame, Array, list[str], bool]:
    """Return betas (n_trials, n_voxels) of a run, its trials, and which voxels have signal."""
    volumes = open_volumes(run.bold)
    check_grid(str(run.bold), volumes.grid_shape, volumes.affine, space)
    if volumes.n_volumes < 2:
        raise InputError(
            f"{run.bold} holds {volumes.n_volumes} volume", "a series, a volume per repetition time"
        )
    events = read_run_events(
        run, volumes.n_volumes, column=settings.stimulus_column, kinds=settings.kinds
    )
    confounds, kept, with_drifts = read_confounds(run, settings.confounds)
    if confounds is not None and len(confounds) != volumes.n_volumes:
        raise InputError(
            f"{run.confounds} has {len(confounds)} rows for {volumes.n_volumes} volumes",
            expected="one row per volume",
            remedy="use files of one run of fMRIPrep",
        )
    times = (np.arange(volumes.n_volumes) + run.reference) * run.tr
    try:
        weights = beta_weights(
            events, times, model=settings.model, hrf=settings.hrf, confounds=confounds,
            high_pass=None if with_drifts else settings.high_pass, kept=kept,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{run.events}: {error.found}", error.expected, error.remedy) from error
    series, alive = percent_change(volumes.read(space.indices))
    betas = (weights @ series).astype(np.float32)
    table = events.trials.drop(columns=["session", "run", "trial"], errors="ignore")
    names = {"session": run.session, "run": run.run}
    acquisition = [run.entities[key] for key in ("acq", "dir") if key in run.entities]
    if acquisition:
        names["run"] = "".join([*acquisition, names["run"]])
    table = table.assign(**names, trial=np.arange(1, len(table) + 1))
    return betas, table, alive, events.notes, events.named


def _trials(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the trials of all runs; numbers stay numbers, columns without any value go."""
    import pandas as pd

    whole = pd.concat(tables, ignore_index=True)
    if "kind" in whole and (whole["kind"] == UNKNOWN).all():
        whole = whole.drop(columns="kind")
    for name in list(whole.columns):
        if name in (*TRIAL_COLUMNS, "onset", "duration"):
            continue
        if whole[name].dtype.kind not in "ifb":
            text = whole[name].fillna(UNKNOWN).astype(str)
            if (text == UNKNOWN).all():
                whole = whole.drop(columns=name)
            else:
                whole[name] = text
    if "kind" in whole and "category" not in whole and "concept" not in whole:
        informative = 1 < whole["kind"].nunique() < len(whole)
        if informative and set(whole["kind"]) == set(whole["stimulus_id"]):
            whole["category"] = whole["kind"]
    return whole.drop(columns=["kind", "repetition"], errors="ignore")


def _normalised(data: Array, trials: pd.DataFrame, normalise: str) -> tuple[Array, list[str]]:
    if normalise == "none":
        return data, []
    groups = trials["session"].astype(str)
    if normalise == "run":
        groups = groups + " " + trials["run"].astype(str)
    training = (trials["split"] == "train").to_numpy()
    if training.sum() < 2:
        raise UsageError(
            f"{int(training.sum())} training trials",
            expected="at least two to z-score with",
            remedy="correct --test, or use --normalise none",
        )
    scaled, lacking = scale_groups(data, groups.tolist(), training, unit=normalise)
    if not lacking:
        return scaled, []
    return scaled, [
        f"{len(lacking)} {normalise}s without training trials ({', '.join(lacking[:4])}, ...) were "
        "z-scored with all training trials"
    ]


def _note(
    root: Path, settings: BidsSettings, label: str, recording: Recording, notes: list[str]
) -> None:
    path = root / "preparation.json"
    before = PreparationFile.load(path).subjects if path.is_file() else {}
    splits = recording.trials["split"].value_counts()
    kept = ("task", "model", "space", "confounds", "hrf", "high_pass", "normalise", "test")
    PreparationFile(
        dataset=settings.name or "bids",
        form="BIDS series with events",
        settings={name: getattr(settings, name) for name in kept},
        subjects={
            **before,
            label: {
                **{f"n_{name}": int(count) for name, count in splits.items()},
                "n_voxels": int(recording.data.shape[1]),
                "notes": notes,
            },
        },
        created_with=f"phosphene {phosphene.__version__}",
    ).save(path)
