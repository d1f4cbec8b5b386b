"""The official layout of NSD: ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.nsd.bricks import hdf5_rows
from phosphene.data.nsd.design import (
    Design,
    find_design,
    read_design,
    read_responses,
    read_stimulus_table,
)
from phosphene.data.nsd.facts import SESSIONS, check_voxels
from phosphene.data.nsd.session_betas import count_trials, find_sessions, read_session
from phosphene.data.nsd.subject_part import SubjectPart
from phosphene.data.readers.regions import read_space
from phosphene.errors import InputError, UsageError

__all__ = ["find_brick", "is_official", "open_official", "subject_mask"]

Array = np.ndarray[Any, Any]
BRICK = ("nsddata_stimuli", "stimuli", "nsd", "nsd_stimuli.hdf5")
PREFERRED = ("betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf")


def is_official(source: Path) -> bool:
    """Whether a folder holds betas in the official layout."""
    return (source / "nsddata_betas" / "ppdata").is_dir()


def find_brick(source: Path) -> Path | None:
    """Return the stack of all pictures, where it is."""
    path = source.joinpath(*BRICK)
    return path if path.is_file() else None


def subject_mask(source: Path, subject: str, space: str = "func1pt8mm") -> Path | None:
    """Return the mask nsdgeneral of a subject anywhere in the tree."""
    name = f"subj{int(subject):02d}"
    official = source / "nsddata" / "ppdata" / name / space / "roi" / "nsdgeneral.nii.gz"
    if official.is_file():
        return official
    return next(iter(sorted(source.rglob(f"{name}/**/nsdgeneral.nii.gz"))), None)


def open_official(
    source: Path,
    subject: str,
    *,
    sessions: list[int] | None = None,
    betas: str | None = None,
    space: str = "func1pt8mm",
    roi: str | None = None,
    stimuli: Path | None = None,
    pictures: bool = True,
) -> SubjectPart:
    """Open one subject: headers and tables are read and checked, betas when they are asked for.

    Parameters
    ----------
    source : Path
        The folder with ``nsddata`` and ``nsddata_betas``.
    subject : str
    sessions : list of int, optional
        Those that will be needed; the others need not be there.
    betas : str, optional
        Name of the version; by default ``betas_fithrf_GLMdenoise_RR`` where it is there.
    space : str
    roi : str, optional
        In place of nsdgeneral.
    stimuli : Path, optional
        The stack of pictures, where it lies elsewhere.
    pictures : bool

    Raises
    ------
    InputError
        If a file is missing or damaged, or contradicts the design or the known counts.
    """
    design = _design(source)
    mask = roi or str(subject_mask(source, subject, space) or _no_mask(source, subject, space))
    voxels = read_space(mask)
    if roi is None:
        check_voxels(subject, voxels.n_voxels, voxels.grid_shape, mask)
    folder = _version(source, subject, space, betas)
    files = _sessions(folder, subject, sessions)
    counts = {session: count_trials(path, voxels) for session, path in files.items()}
    length = design.trials_per_session(counts)
    trials = _trials(design, source, subject, sorted(files), length)
    loaded: dict[int, Array] = {}

    def read(rows: Array) -> Array:
        out = np.empty((len(rows), voxels.n_voxels), dtype=np.float32)
        wanted = trials.iloc[rows]
        for session in dict.fromkeys(wanted["session"]):
            if session not in loaded:
                loaded.clear()  # one session in memory at a time
                loaded[session] = read_session(files[session], voxels)
            mine = np.flatnonzero((wanted["session"] == session).to_numpy())
            inside = wanted["trial"].to_numpy()[mine] - 1 - (session - 1) * length
            out[mine] = loaded[session][inside]
        return out

    facts = {"betas": folder.name, "space": space, "mask": Path(mask).name + " > 0"}
    return SubjectPart(
        trials, read, voxels, _pictures(source, trials, stimuli) if pictures else None,
        averaged=False, facts=facts,
    )  # fmt: skip


def _design(source: Path) -> Design:
    path = find_design(source)
    if path is None:
        raise InputError(
            f"{source} has no nsddata/experiments/nsd/nsd_expdesign.mat",
            expected="the design of the experiment, which says which picture was shown when",
            remedy="copy nsddata/experiments/nsd from the bucket of NSD",
        )
    return read_design(path)


def _no_mask(source: Path, subject: str, space: str) -> Path:
    raise InputError(
        f"{source} has no nsddata/ppdata/subj{int(subject):02d}/{space}/roi/nsdgeneral.nii.gz",
        expected="the mask of the subject",
        remedy="copy it from the bucket of NSD, or name another one with --roi",
    )


def _version(source: Path, subject: str, space: str, betas: str | None) -> Path:
    home = source / "nsddata_betas" / "ppdata" / f"subj{int(subject):02d}" / space
    found = [path.name for path in sorted(home.glob("betas_*")) if path.is_dir()]
    if betas is None:
        betas = next((name for name in PREFERRED if name in found), found[0] if found else None)
    if betas is None or betas not in found:
        raise InputError(
            f"{home} has " + (f"no {betas}" if betas and found else "no betas"),
            expected=f"one of {', '.join(found)}" if found else "a folder such as " + PREFERRED[0],
            remedy="correct --subjects, --betas and --space, or complete the download",
        )
    return home / betas


def _sessions(folder: Path, subject: str, sessions: list[int] | None) -> dict[int, Path]:
    files = find_sessions(folder)
    released = SESSIONS.get(subject.lstrip("0"), max(files, default=0))
    if not files:
        raise InputError(
            f"{folder} has no session", "betas_session01.hdf5 or .nii.gz, ...", "complete it"
        )
    if sessions is None:
        return files
    wanted = [session for session in sessions if session <= released]
    if not wanted:
        raise UsageError(
            f"sessions {sessions[0]} to {sessions[-1]} of subject {subject}",
            expected=f"among 1 to {released}, those that were released",
        )
    absent = [session for session in wanted if session not in files]
    if absent:
        raise InputError(
            f"{folder} lacks {len(absent)} of the {len(wanted)} sessions asked for, session "
            f"{absent[0]} for example",
            expected=f"betas_session{absent[0]:02d}.hdf5 or .nii.gz",
            remedy=f"complete the download, or ask for those that are there with --sessions "
            f"{','.join(map(str, files))}",
        )
    return {session: files[session] for session in wanted}


def _trials(design: Design, source: Path, subject: str, sessions: list[int], length: int) -> Any:
    import pandas as pd

    shown = design.shown(subject)
    runs = read_responses(source, subject, shown, length)
    slots = np.concatenate([np.arange(length) + (session - 1) * length for session in sessions])
    trials = pd.DataFrame(
        {
            "session": slots // length + 1,
            "run": runs[slots],
            "trial": slots + 1,
            "nsd_id": shown[slots],
            "shared": np.isin(shown[slots], list(design.shared)),
            "count": 1,
        }
    )
    table = read_stimulus_table(design)
    if table is not None:
        trials["coco_id"] = table["cocoId"].reindex(trials["nsd_id"]).to_numpy()
        _check_table(design, table, trials, subject)
    return trials


def _check_table(design: Design, table: Any, trials: Any, subject: str) -> None:
    """Compare the trials that the stimulus table gives for a picture with those of the design."""
    columns = [f"subject{int(subject)}_rep{n}" for n in range(3)]
    if any(name not in table for name in columns):
        return
    told = table[columns].to_numpy(dtype=float)
    places, _ = np.nonzero(np.nan_to_num(told) > 0)
    numbers = told[np.nan_to_num(told) > 0].astype(int)
    expected = dict(zip(numbers.tolist(), table.index[places].tolist(), strict=True))
    wrong = [
        trial
        for trial, shown in zip(trials["trial"], trials["nsd_id"], strict=True)
        if expected.get(trial, shown) != shown
    ]
    if wrong:
        raise InputError(
            f"the stimulus table beside {design.path} gives another picture for trial {wrong[0]} "
            f"of subject {subject} ({len(wrong)} trials differ)",
            expected="the pictures of masterordering and subjectim",
            remedy="use the table and the design of one release",
        )


def _pictures(source: Path, trials: Any, stimuli: Path | None) -> Any:
    path = stimuli or find_brick(source)
    if path is None:
        raise InputError(
            f"{source} has no {'/'.join(BRICK)}",
            expected="the stack of all pictures (39.6 GB), of which the shown ones are copied",
            remedy="copy it from the bucket of NSD, name it with --stimuli, or use --no-pictures",
        )
    read, shown = hdf5_rows(path, "imgBrick"), trials["nsd_id"].to_numpy()
    return lambda row: read(int(shown[row]))
