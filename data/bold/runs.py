"""Runs of BOLD series in a folder in BIDS form: raw, or as fMRIPrep leaves them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phosphene.data.readers.nifti import open_volumes
from phosphene.errors import InputError
from phosphene.storage import read_json

__all__ = ["BoldRun", "entities_of", "find_runs", "find_subjects"]

BOLD = re.compile(r"_bold\.nii(\.gz)?$")
NOT_A_SERIES = ("betas", "statmap", "mean", "std", "boldref")  # desc- of other volumes
PREPROCESSED = "preproc"
ACQUISITION = ("ses", "task", "acq", "ce", "rec", "dir", "run", "echo")  # what tells runs apart


@dataclass(frozen=True)
class BoldRun:
    """One run: its series, events, timing, and what fMRIPrep wrote beside it.

    Attributes
    ----------
    bold, events : Path
    entities : dict of str to str
    tr : float
        Seconds between volumes.
    reference : float
        Time within a volume that it stands for, as a share of ``tr``.
    mask : Path or None
    confounds : Path or None
    """

    bold: Path
    events: Path
    entities: dict[str, str]
    tr: float
    reference: float
    mask: Path | None
    confounds: Path | None

    @property
    def session(self) -> str:
        """Label of the session, ``01`` where there is none."""
        return self.entities.get("ses", "01")

    @property
    def run(self) -> str:
        """Label of the run, with the acquisition where several share a number."""
        return self.entities.get("run", "01")


def entities_of(path: Path) -> dict[str, str]:
    """Return the entities in a BIDS name."""
    pairs = (part.split("-", 1) for part in path.name.split("_") if "-" in part)
    return {key: value.split(".")[0] for key, value in pairs}


def _key(path: Path) -> tuple[tuple[str, str], ...]:
    """Return what identifies a run; 01 and 1 are the same number."""
    found = entities_of(path)
    return tuple(
        (name, str(int(found[name])) if found[name].isdigit() else found[name])
        for name in ACQUISITION
        if name in found
    )


def find_subjects(source: Path, raw: Path | None = None) -> list[str]:
    """Return the labels of all subjects with functional data."""
    labels = {
        path.parts[-2 if path.parent.name.startswith("sub-") else -3].removeprefix("sub-")
        for home in _homes(source, raw)
        for pattern in ("sub-*/func", "sub-*/ses-*/func")
        for path in home.glob(pattern)
    }
    return sorted(labels)


def find_runs(
    source: Path,
    subject: str,
    task: str,
    *,
    space: str | None = None,
    raw: Path | None = None,
    tr: float | None = None,
) -> list[BoldRun]:
    """Find the runs of a task in the order of session and run.

    Preprocessed series are taken where there are any: in ``source`` itself, or in
    ``source/derivatives``. Events come from ``raw``, from ``source``, or from the dataset that
    ``source`` is a derivative of.

    Raises
    ------
    InputError
        If there is no such task, a run has no events or no repetition time, or the same run is
        there in several spaces.
    """
    places = _homes(source, raw)
    series, home = _series(source, subject, task, space)
    events = {
        _key(path): path
        for place in reversed(places)
        for path in _functional(place, subject)
        if path.name.endswith("_events.tsv")
    }
    runs = []
    for path in sorted(series, key=_order):
        runs.append(_run(path, home, places, events, subject, task, tr))
    return runs


def _homes(source: Path, raw: Path | None) -> list[Path]:
    """Return the folders in which events and sidecars may lie, best first."""
    if not source.is_dir():
        raise InputError(f"there is no folder {source}", "a folder in BIDS form")
    homes = [] if raw is None else [raw]
    homes += [source, source.resolve().parent.parent]  # dataset/derivatives/fmriprep
    homes.append(source.resolve().parent)
    return [home for home in homes if home.is_dir()]


def _functional(home: Path, subject: str) -> list[Path]:
    folders = [home / f"sub-{subject}" / "func", *home.glob(f"sub-{subject}/ses-*/func")]
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())


def _series(source: Path, subject: str, task: str, space: str | None) -> tuple[list[Path], Path]:
    """Return the series of the task and the folder they lie in."""
    derived = sorted(path for path in source.glob("derivatives/*") if path.is_dir())
    derived.sort(key=lambda path: "fmriprep" not in path.name.lower())
    tasks: set[str] = set()
    for home in (*derived, source):
        bold = [path for path in _functional(home, subject) if BOLD.search(path.name)]
        bold = [p for p in bold if entities_of(p).get("desc") not in NOT_A_SERIES]
        tasks |= {entities_of(path).get("task", "") for path in bold}
        bold = [path for path in bold if entities_of(path).get("task") == task]
        prepared = [p for p in bold if entities_of(p).get("desc") == PREPROCESSED]
        if home in derived and not prepared:
            continue
        if chosen := _one_space(prepared or bold, space, home):
            return chosen, home
    known = ", ".join(sorted(tasks - {""})) or "none"
    people = ", ".join(find_subjects(source)) or "none"
    raise InputError(
        f"{source} has no series of task {task!r} and subject {subject}",
        expected=f"sub-{subject}/[ses-*/]func/sub-{subject}_..._task-{task}_..._bold.nii.gz; "
        f"its tasks are {known}, its subjects {people}",
        remedy="correct --task, --subjects or --source",
    )


def _one_space(files: list[Path], space: str | None, home: Path) -> list[Path]:
    spaces: dict[str, list[Path]] = {}
    for path in files:
        found = entities_of(path)
        name = found.get("space", "native") + (f":res-{found['res']}" if "res" in found else "")
        spaces.setdefault(name, []).append(path)
    if space is not None:
        matching = [name for name in spaces if name == space or name.startswith(f"{space}:")]
        if len(matching) == 1:
            return spaces[matching[0]]
        if spaces:
            raise InputError(
                f"{home} has series in the spaces {', '.join(sorted(spaces))}",
                expected=f"one that --space {space} names",
                remedy="correct --space",
            )
    if len(spaces) > 1:
        raise InputError(
            f"{home} has series in {len(spaces)} spaces: {', '.join(sorted(spaces))}",
            expected="one space",
            remedy="choose one with --space; a subject's own anatomy (T1w) keeps the finest detail",
        )
    chosen = next(iter(spaces.values()), [])
    keys = [_key(path) for path in chosen]
    twice = next((chosen[row] for row, key in enumerate(keys) if keys.count(key) > 1), None)
    if twice is not None or any("echo" in entities_of(path) for path in chosen):
        raise InputError(
            f"{home} has several series of one run, {(twice or chosen[0]).name} for example",
            expected="one series per run; echoes combined",
            remedy="combine echoes with fMRIPrep, or move the other files away",
        )
    return chosen


def _order(path: Path) -> tuple[tuple[int, str], ...]:
    found = entities_of(path)
    labels = (found.get(key, "") for key in ACQUISITION)
    return tuple((int(label) if label.isdigit() else -1, label) for label in labels)


def _run(
    path: Path,
    home: Path,
    places: list[Path],
    events: dict[tuple[tuple[str, str], ...], Path],
    subject: str,
    task: str,
    tr: float | None,
) -> BoldRun:
    table = events.get(_key(path)) or _inherited(places, subject, task, "_events.tsv")
    if table is None:
        raise InputError(
            f"there is no events table for {path}",
            expected="a file of the same session, task and run ending in _events.tsv in the raw "
            "dataset",
            remedy="name the raw dataset with --raw, or add the file",
        )
    sidecar = _sidecar(path, home, places, subject, task)
    seconds = tr or float(sidecar.get("RepetitionTime") or _header_tr(path))
    if not seconds > 0 or seconds > 30:
        raise InputError(
            f"the repetition time of {path} is {seconds:g} s",
            expected="RepetitionTime in its .json, or a header that tells it in seconds",
            remedy="give it in seconds with --tr",
        )
    start = sidecar.get("StartTime")
    reference = float(start) / seconds if isinstance(start, int | float) else 0.0
    beside = path.parent
    own = _key(path)
    space = entities_of(path).get("space")
    masks = [
        mask
        for mask in sorted(beside.glob("*_desc-brain_mask.nii*"))
        if _key(mask) == own and entities_of(mask).get("space") == space
    ]
    confounds = [
        file
        for pattern in ("*_desc-confounds_timeseries.tsv", "*_desc-confounds_regressors.tsv")
        for file in sorted(beside.glob(pattern))
        if _key(file) == own
    ]
    return BoldRun(
        path, table, entities_of(path), seconds, min(max(reference, 0.0), 1.0),
        masks[0] if masks else None, confounds[0] if confounds else None,
    )  # fmt: skip


def _inherited(places: Iterable[Path], subject: str, task: str, ending: str) -> Path | None:
    """Return a file of a higher level that holds for every run of the task."""
    for place in places:
        for candidate in (
            place / f"sub-{subject}" / f"sub-{subject}_task-{task}{ending}",
            place / f"task-{task}{ending}",
        ):
            if candidate.is_file():
                return candidate
    return None


def _sidecar(path: Path, home: Path, places: list[Path], subject: str, task: str) -> dict[str, Any]:
    """Return what the sidecars say, nearer files over inherited ones."""
    own = path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", path.name))
    raw = [
        candidate
        for place in places
        for candidate in _functional(place, subject)
        if candidate.name.endswith("_bold.json") and _key(candidate) == _key(path)
    ]
    inherited = [_inherited([place], subject, task, "_bold.json") for place in (home, *places)]
    told: dict[str, Any] = {}
    for file in [*reversed([f for f in inherited if f]), *reversed(raw), own]:
        if file.is_file():
            content = read_json(file)
            told |= content if isinstance(content, dict) else {}
    return told


def _header_tr(path: Path) -> float:
    import nibabel

    open_volumes(path)  # a damaged header is one clear message
    image: Any = nibabel.load(path)
    zooms = image.header.get_zooms()
    unit = image.header.get_xyzt_units()[1]
    factor = {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    return float(zooms[3]) * factor if len(zooms) > 3 else 0.0
