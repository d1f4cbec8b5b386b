"""Runs of continuous volumes in files and BIDS folders, with the movie that was running."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phosphene.data.movies.repetition_time import settle_repetition_time
from phosphene.data.movies.run import MovieRun
from phosphene.data.readers import read_recording, read_space
from phosphene.data.readers.bids import BetasFile
from phosphene.data.readers.tables import read_trials
from phosphene.errors import InputError
from phosphene.trials import complete_trials

if TYPE_CHECKING:
    from phosphene.data.movies.dataset import Movie
    from phosphene.types import VoxelSpace

__all__ = ["MovieEvent", "find_showings", "movie_event", "read_bids_runs", "read_movie_run"]


RUN = re.compile(r"_bold\.(nii|nii\.gz|dtseries\.nii|npy)$")


@dataclass(frozen=True)
class MovieEvent:
    """What the events of a run say of its movie.

    Attributes
    ----------
    onset : float
        Seconds after the first volume.
    duration : float or None
    stimulus_id : str
    repetition : int
    split : str
    run : str
    """

    onset: float
    duration: float | None
    stimulus_id: str
    repetition: int = 1
    split: str = "test"
    run: str = "01"


def movie_event(path: str | os.PathLike[str], *, onset_known: bool = False) -> MovieEvent | None:
    """Return the movie that the events beside a run name, None where there are no events.

    Parameters
    ----------
    path : path
        Of the run.
    onset_known : bool
        Whether events that name no movie may be passed over, as another source says when it began.

    Raises
    ------
    InputError
        If they name no movie or several, or its onset is no number.
    """
    events = _events_of(Path(path))
    if events is None:
        return None
    table = read_trials(events)
    named = next((name for name in ("stimulus_id", "stim_file") if name in table), None)
    if named is None or "onset" not in table:
        if onset_known:
            return None
        raise InputError(
            f"{events} has no column {'onset' if named else 'stim_file or stimulus_id'}",
            expected="a row with the onset and the file of the movie",
            remedy="add it, or give --onset",
        )
    shown = table[~table[named].isin(["", "n/a"])].dropna(subset=[named])
    if shown.empty and onset_known:
        return None
    if len(shown) != 1:
        raise InputError(
            f"{events} names {len(shown)} movies",
            expected="one row with the movie of this run",
            remedy="cut the run into one per movie, or give --onset and move the events away",
        )
    row = shown.iloc[0]
    onset, duration, repetition = (
        _number(row[name], name, events) if name in shown else math.nan
        for name in ("onset", "duration", "repetition")
    )
    if math.isnan(onset) and not onset_known:
        raise InputError(
            f"{events} does not say when the movie began",
            expected="its onset, in seconds after the first volume",
            remedy="write it into the table, or give --onset",
        )
    return MovieEvent(
        onset=onset,
        duration=duration if duration > 0 else None,
        stimulus_id=Path(str(row[named])).stem if named == "stim_file" else str(row[named]),
        repetition=int(repetition) if repetition >= 1 else 1,
        split=str(row["split"]) if "split" in shown else "test",
        run=BetasFile.parse(path).entities.get("run", "01"),
    )


def _number(value: object, name: str, events: Path) -> float:
    """Return what a cell says, NaN for ``n/a``."""
    text = str(value)
    try:
        return math.nan if text in ("", "n/a") else float(text)
    except ValueError as error:
        raise InputError(
            f"{events} has the {name} {text!r}",
            expected="a number, or n/a",
            remedy="correct the table",
        ) from error


def find_showings(path: str | os.PathLike[str]) -> list[Path]:
    """Return all runs beside a run, or of other sessions, whose events name the same movie.

    Parameters
    ----------
    path : path
        A run, or a folder of runs of one movie.

    Raises
    ------
    InputError
        If no events say which movie was shown, or those of a folder name several.
    """
    place = Path(path)
    files = _runs_below(place) if place.is_dir() else _runs_like(place)
    if not place.is_dir() and place not in files:
        files = [place, *files]
    shown: dict[str, list[Path]] = {}
    for file in files:
        event = movie_event(file)
        if event is not None:
            shown.setdefault(event.stimulus_id, []).append(file)
    if place.is_dir() and len(shown) == 1:
        return next(iter(shown.values()))
    event = None if place.is_dir() else movie_event(place)
    if event is None:
        raise InputError(
            f"{place} has runs of {', '.join(sorted(shown)) or 'no movie that events name'}"
            if place.is_dir()
            else f"nothing says which movie was shown during {place}",
            expected="runs with _events.tsv beside them that name one movie",
            remedy="give one of its runs: those of the same movie are found beside it",
        )
    return shown[event.stimulus_id]


def _runs_below(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if RUN.search(path.name)]
    return sorted(path for path in found if _events_of(path) is not None)


def _runs_like(path: Path) -> list[Path]:
    """Return the runs whose names differ from a run's in session and run alone."""

    def fixed(name: str) -> tuple[str, ...]:
        return tuple(part for part in name.split("_") if not part.startswith(("run-", "ses-")))

    func = path.parent
    places = [func]
    if func.name == "func" and func.parent.name.startswith("ses-"):
        places = sorted(func.parent.parent.glob("ses-*/func"))
    found = [one for place in places for one in place.iterdir()]
    return sorted(one for one in found if one.is_file() and fixed(one.name) == fixed(path.name))


def _events_of(path: Path) -> Path | None:
    """Return the events beside ``..._bold.nii.gz``, as BIDS names them."""
    stem = path.name.split(".")[0]
    found = path.with_name(f"{stem.rpartition('_')[0]}_events.tsv")
    return found if found.is_file() else None


def read_movie_run(
    path: str | os.PathLike[str],
    *,
    subject: str,
    space: VoxelSpace | None = None,
    roi: str | None = None,
    tr: float | None = None,
    onset: float | None = None,
    movie: Movie | None = None,
) -> MovieRun:
    """Read one run of continuous volumes.

    Parameters
    ----------
    path : path
        NIfTI, CIFTI time series or an array (n_volumes, n_voxels).
    subject : str
    space, roi
        As for :func:`phosphene.data.readers.read_recording`.
    tr : float, optional
        Seconds between volumes, where the file does not state them.
    onset : float, optional
        Seconds after the first volume at which the movie begins; by default what the events
        beside the file say, else 0.
    movie : Movie, optional
        Which was shown; gives length and cuts.

    Raises
    ------
    InputError
        If the TR is missing or contradicts the header, if the movie begins after the run, or
        volumes hold no usable numbers.
    """
    seconds = settle_repetition_time(path, tr)
    event = movie_event(path, onset_known=onset is not None)
    recording = read_recording(path, subject=subject, space=space, roi=roi)
    volumes = recording.data
    if len(volumes) > 1 and not any((volume != volumes[0]).any() for volume in volumes[1:]):
        raise InputError(
            f"{path} holds {len(recording)} times the same volume",
            expected="voxels that change from volume to volume",
            remedy="check what made the file, and whether the mask lies on the brain",
        )
    if onset is None:
        onset = 0.0 if event is None else event.onset
    name = movie.stimulus_id if movie is not None else event.stimulus_id if event else "movie"
    trials = recording.trials.assign(stimulus_id=name, repetition=1)
    if event is not None:
        trials = trials.assign(run=event.run, split=event.split, repetition=event.repetition)
    recording = type(recording)(
        recording.data,
        "fmri",
        recording.subject,
        complete_trials(trials, len(trials)),
        recording.space,
    )
    duration = movie.open().seconds if movie is not None else event.duration if event else None
    return MovieRun(
        recording,
        name,
        tr=seconds,
        onset=onset,
        duration=duration,
        cuts=() if movie is None else movie.cuts,
        repetition=1 if event is None else event.repetition,
    )


def read_bids_runs(
    root: str | os.PathLike[str], subject: str, movies: Mapping[str, Movie]
) -> list[MovieRun]:
    """Read all runs of a subject in a BIDS folder that has a mask of voxels.

    Raises
    ------
    InputError
        If there is no run with events, or no mask.
    """
    folder = Path(root) / f"sub-{subject}"
    files = sorted(
        path
        for path in folder.rglob("*_bold.nii*")
        if "desc-betas" not in path.name and _events_of(path) is not None
    )
    masks = sorted(folder.glob("anat/*_mask.nii*"))
    if not files or len(masks) != 1:
        raise InputError(
            f"{folder} has {len(files)} runs with events and {len(masks)} masks in anat",
            expected="..._bold.nii.gz files, each with _events.tsv beside it, and one mask",
            remedy="check the folder and the subject's label",
        )
    space = read_space(str(masks[0]))
    runs = []
    for path in files:
        event = movie_event(path)
        name = "" if event is None else event.stimulus_id
        if name not in movies:
            raise InputError(
                f"{path} shows {name!r}, which stimuli/movies.tsv does not list",
                expected=f"one of {', '.join(sorted(movies))}",
                remedy="add the movie to the table",
            )
        runs.append(read_movie_run(path, subject=subject, space=space, movie=movies[name]))
    return runs
