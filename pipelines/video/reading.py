"""The run that clips are decoded from, and the movie that was shown, checked against each other."""

from __future__ import annotations

from pathlib import Path

from phosphene.data.movies.averaging import average_runs
from phosphene.data.movies.bids import find_showings, movie_event, read_movie_run
from phosphene.data.movies.dataset import TABLE, Movie, read_movies
from phosphene.data.movies.frames import MOVIE_SUFFIXES
from phosphene.data.movies.run import MovieRun
from phosphene.errors import InputError
from phosphene.types import VoxelSpace

__all__ = ["read_shown"]

LONGEST_REST = 20.0  # seconds that a run may go on after its movie where no events say more


def read_shown(
    source: str,
    *,
    subject: str,
    space: VoxelSpace,
    truth: str | None = None,
    average: str = "none",
    tr: float | None = None,
    onset: float | None = None,
) -> tuple[MovieRun, Movie | None]:
    """Return the run that is decoded, or the mean of all showings of its movie, and the movie.

    Parameters
    ----------
    source : str
        A run; or, with ``average="stimulus"``, a folder of runs of one movie.
    subject : str
    space : VoxelSpace
    truth : str, optional
        The movie, or a folder of movies in which events name it.
    average : {"none", "stimulus"}
    tr, onset : float, optional
        Seconds, where neither header nor events say them.

    Raises
    ------
    InputError
        If run, events and movie contradict each other.
    """
    files = [source]
    if average == "stimulus":
        files = [str(path) for path in find_showings(source)]
    movie = None if truth is None else _true_movie(truth, files[0])
    runs = []
    for file in files:
        run = read_movie_run(file, subject=subject, space=space, tr=tr, onset=onset, movie=movie)
        _check_length(run, movie, file, onset_known=onset is not None)
        runs.append(run)
    return average_runs(runs), movie


def _true_movie(truth: str, source: str) -> Movie:
    """Return the movie that was shown: the file itself, or the one of a folder by the events."""
    place = Path(truth)
    if place.is_file():
        return Movie(place.stem, place)
    if not place.is_dir():
        raise InputError(
            f"there is no movie or folder {truth}",
            expected="--truth MOVIE.mp4, or a folder of movies",
            remedy="check the path",
        )
    event = movie_event(source)
    if event is None:
        raise InputError(
            f"nothing says which movie of {truth} was shown during {source}",
            expected="an _events.tsv beside the run that names it",
            remedy="give the movie itself: --truth MOVIE.mp4",
        )
    known = read_movies(place) if (place / TABLE).is_file() else {}
    if event.stimulus_id in known:
        return known[event.stimulus_id]
    for suffix in MOVIE_SUFFIXES:
        path = place / f"{event.stimulus_id}{suffix}"
        if path.is_file():
            return Movie(event.stimulus_id, path)
    raise InputError(
        f"{truth} has no movie {event.stimulus_id!r}",
        expected="the movie that the events name",
        remedy="give the movie itself: --truth MOVIE.mp4",
    )


def _check_length(run: MovieRun, movie: Movie | None, source: str, *, onset_known: bool) -> None:
    """Refuse a movie of another length than the events or the run have room for."""
    if movie is None or run.duration is None:
        return
    event = movie_event(source, onset_known=onset_known)
    said = None if event is None else event.duration
    after = run.seconds - run.onset - run.duration
    if said is None and after > LONGEST_REST:
        raise InputError(
            f"the run {source} goes on for {after:g} s after the movie {movie.path} "
            f"({run.duration:g} s, beginning {run.onset:g} s after the first volume)",
            expected=f"run and movie of one length, up to {LONGEST_REST:g} s of rest at the end",
            remedy="check which movie it is; where the run shows more than it, say so in an "
            "_events.tsv beside the run, with onset, duration and stim_file of this movie",
        )
    if event is not None and said and abs(said - run.duration) > run.tr:
        raise InputError(
            f"{movie.path} lasts {run.duration:g} s and the events of {source} say {said:g} s",
            expected="the movie that was shown, whole",
            remedy="check which movie belongs to this run",
        )
    if run.seconds - run.onset < run.duration - 2 * run.tr:
        raise InputError(
            f"the run {source} ends {run.duration - run.seconds + run.onset:g} s before the movie "
            f"{movie.path} ({run.duration:g} s, beginning {run.onset:g} s after the first volume)",
            expected="a run as long as the movie",
            remedy="check --tr, --onset and the movie, or cut the movie where the run ends",
        )
