"""Movies put into a prepared dataset, with the seconds at which a new scene begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from phosphene.data.movies.cuts import colour_distances, cuts_of
from phosphene.data.movies.dataset import Movie, read_movies, write_movies
from phosphene.data.movies.frames import MOVIE_SUFFIXES, MovieFile, open_movie
from phosphene.progress import progress

__all__ = ["add_movies", "movie_in"]

CUT_SIDE = 48  # pixels at which cuts are looked for


def movie_in(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Return the first movie of one of these names, without its ending, in one of the folders."""
    for folder in folders:
        for name in names:
            for suffix in MOVIE_SUFFIXES:
                if (folder / f"{name}{suffix}").is_file():
                    return folder / f"{name}{suffix}"
    return None


def add_movies(
    output: Path,
    find: Callable[[str], Path | None],
    check: Callable[[str, MovieFile], None],
) -> list[str]:
    """Copy the movies of a dataset's runs into it, and find their cuts.

    Parameters
    ----------
    output : Path
        Of the dataset.
    find : callable
        Returns where the movie of a segment lies, None where it is missing.
    check : callable
        Refuses a movie that does not belong to its runs.

    Returns
    -------
    list of str
        What was found and what is missing.
    """
    from phosphene.data.canonical import CanonicalDataset

    folder = output / "stimuli"
    known = read_movies(folder) if (folder / "movies.tsv").is_file() else {}
    table = CanonicalDataset.open(output).table
    segments = [name for name in dict.fromkeys(table["stimulus_id"]) if name not in known]
    found, absent = dict(known), []
    for segment in progress(segments, label="movies", total=len(segments)):
        path = find(segment)
        if path is None:
            absent.append(segment)
            continue
        movie = open_movie(path)
        check(segment, movie)
        single = movie.read_clips([[number] for number in range(movie.n_frames)], CUT_SIDE)
        cuts = cuts_of(colour_distances(clip[0] for clip in single), movie.fps)
        found[segment] = Movie(segment, path, tuple(cut for cut in cuts if cut > 0))
    if found:
        write_movies(folder, list(found.values()))
    notes = [f"movies: {len(found)}, {sum(len(movie.cuts) for movie in found.values())} cuts"]
    if absent:
        notes.append(
            f"no movie of {', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}: give the "
            f"folder of {absent[0]}.mp4 with --movies to train on them"
        )
    return notes
