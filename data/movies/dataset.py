"""Datasets of movies: runs of continuous activity, the movies they show, and where scenes begin.

A canonical dataset whose rows are volumes in the order of time. ``trials.parquet`` names in
``stimulus_id`` the movie that was running and has the column ``movie_time``: seconds of the movie
at which the volume began, negative before its start. ``stimuli/movies.tsv`` lists the movies. A
BIDS folder of runs with ``stimuli/movies.tsv`` (as ``phosphene simulate fmri-video`` writes it) is
read as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.movies.frames import MovieFile, open_movie
from phosphene.data.movies.run import MovieRun
from phosphene.data.readers.tables import read_trials
from phosphene.errors import InputError
from phosphene.storage import atomic_path, hash_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Movie", "MovieDataset", "read_movies", "write_movie_dataset", "write_movies"]

TABLE = "movies.tsv"
TIME = "movie_time"
COLUMNS = ("stimulus_id", "file", "cuts")
THEN = "; then "


@dataclass(frozen=True)
class Movie:
    """A movie that was shown.

    Attributes
    ----------
    stimulus_id : str
    path : Path
    cuts : tuple of float
        Seconds at which a new scene begins.
    caption : str
        What is told of it, where anything is; of each scene in turn where ``; then `` stands
        between as many parts as there are scenes.
    """

    stimulus_id: str
    path: Path
    cuts: tuple[float, ...] = ()
    caption: str = ""

    def open(self) -> MovieFile:
        """Return its frames."""
        return open_movie(self.path)

    def caption_at(self, second: float) -> str:
        """Return what is told of the scene at a second of the movie; empty where nothing is."""
        if self.caption in ("", "n/a"):
            return ""
        parts = self.caption.split(THEN)
        if len(parts) != len(self.cuts) + 1:
            return self.caption
        return parts[int(np.searchsorted(self.cuts, second, side="right"))]


def read_movies(folder: str | os.PathLike[str]) -> dict[str, Movie]:
    """Read ``movies.tsv`` of a folder of movies.

    Its columns are ``stimulus_id``, ``file``, ``cuts`` (seconds, separated by spaces; ``n/a`` for
    none) and optionally ``caption``.
    """
    root = Path(folder)
    table = read_trials(root / TABLE)
    absent = [name for name in COLUMNS if name not in table]
    if absent:
        raise InputError(
            f"{root / TABLE} has no column {', '.join(absent)}",
            expected=f"the columns {', '.join(COLUMNS)}",
            remedy="write the table again",
        )
    movies = {}
    for row in table.fillna("").astype(str).to_dict("records"):
        text = str(row["cuts"])
        try:
            cuts = () if text in ("", "n/a") else tuple(float(part) for part in text.split())
        except ValueError as error:
            raise InputError(
                f"{root / TABLE} has the cuts {text!r}",
                expected="seconds separated by spaces, or n/a",
            ) from error
        name = str(row["stimulus_id"])
        movies[name] = Movie(name, root / str(row["file"]), cuts, str(row.get("caption", "")))
    return movies


def write_movies(folder: Path, movies: Sequence[Movie], *, copy: bool = True) -> None:
    """Copy movies into a folder and list them in its table; files that lie there stay."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for movie in movies:
        name = f"{movie.stimulus_id}{movie.path.suffix}"
        if copy and (folder / name).resolve() != movie.path.resolve():
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(movie.path, temporary)
        rows.append(
            {
                "stimulus_id": movie.stimulus_id,
                "file": name,
                "cuts": " ".join(f"{second:.6g}" for second in movie.cuts) or "n/a",
                "caption": movie.caption or "n/a",
            }
        )
    with atomic_path(folder / TABLE) as temporary:
        table = pd.DataFrame(rows, columns=[*COLUMNS, "caption"])
        table.to_csv(temporary, sep="\t", index=False)


@dataclass(frozen=True, eq=False)
class MovieDataset:
    """Runs and movies of a prepared dataset, or of a BIDS folder.

    Use :meth:`open`.
    """

    root: Path
    canonical: CanonicalDataset | None
    movies: dict[str, Movie] = field(default_factory=dict)

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> MovieDataset:
        """Open a dataset folder and check that it is one of movies."""
        folder = Path(root)
        if not (folder / "stimuli" / TABLE).is_file():
            raise InputError(
                f"{folder} is not a dataset of movies: it has no stimuli/{TABLE}",
                expected="a folder that `phosphene prepare` made of runs under movies, or that "
                "`phosphene simulate fmri-video` wrote",
                remedy="prepare it first, or check the path",
            )
        canonical = None
        if (folder / "dataset.json").is_file():
            canonical = CanonicalDataset.open(folder)
            if TIME not in canonical.table:
                raise InputError(
                    f"{folder / 'trials.parquet'} has no column {TIME}",
                    expected="the second of the movie at which each volume began",
                    remedy="prepare the dataset again as runs under movies",
                )
        return cls(folder, canonical, read_movies(folder / "stimuli"))

    @property
    def hash(self) -> str:
        """Identity of recordings and list of movies."""
        table = hash_file(self.root / "stimuli" / TABLE)[:8]
        return f"{'' if self.canonical is None else self.canonical.file.hash[:8]}{table}"

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it has."""
        if self.canonical is not None:
            return sorted(self.canonical.file.subjects)
        return sorted(
            path.name.removeprefix("sub-") for path in self.root.glob("sub-*") if path.is_dir()
        )

    def movie(self, segment: str) -> Movie:
        """Return the movie of that name."""
        if segment not in self.movies:
            raise InputError(
                f"{self.root / 'stimuli' / TABLE} has no movie {segment!r}",
                expected=f"one of {', '.join(sorted(self.movies))}",
                remedy="add it to the table",
            )
        return self.movies[segment]

    def runs(self, subject: str, splits: Sequence[str] | None = None) -> list[MovieRun]:
        """Return the runs of a subject, all or those of some splits, in their order.

        Raises
        ------
        InputError
            If the subject is unknown, or no run is of these splits.
        """
        if self.canonical is None:
            from phosphene.data.movies.bids import read_bids_runs

            found = read_bids_runs(self.root, subject, self.movies)
        else:
            found = self._canonical_runs(self.canonical, subject)
        if splits is not None:
            found = [run for run in found if run.recording.trials["split"].iloc[0] in splits]
        if not found:
            raise InputError(
                f"subject {subject} of {self.root} has no run in {', '.join(splits or ['it'])}",
                expected="at least one run",
                remedy="choose another subject, or mark runs in the column split",
            )
        return found

    def _canonical_runs(self, dataset: CanonicalDataset, subject: str) -> list[MovieRun]:
        whole = dataset.recording(subject)
        runs = []
        for rows in whole.trials.groupby(["session", "run"], sort=False).indices.values():
            # A slice of the memory map: nothing is read before it is used.
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            trials = whole.trials.iloc[part].reset_index(drop=True)
            times = trials[TIME].to_numpy(dtype=np.float64)
            steps = np.diff(times)
            if len(rows) < 2 or len(trials) != len(rows) or np.ptp(steps) > 1e-3:
                raise InputError(
                    f"run {trials['run'].iloc[0]} of {self.root} has volumes at uneven times",
                    expected="rows in the order of time, one TR apart",
                    remedy="prepare the dataset again",
                )
            movie = self.movie(str(trials["stimulus_id"].iloc[0]))
            runs.append(
                MovieRun(
                    replace(whole, data=whole.data[part], trials=trials),
                    movie.stimulus_id,
                    tr=round(float(steps.mean()), 6),
                    onset=float(-times[0]),
                    duration=movie.open().seconds,
                    cuts=movie.cuts,
                    repetition=int(trials["repetition"].iloc[0]),
                )
            )
        return runs


def write_movie_dataset(
    root: str | os.PathLike[str],
    runs: Sequence[MovieRun],
    movies: Sequence[Movie],
    *,
    splits: dict[str, str],
    name: str | None = None,
    licence: str = "unknown",
    source: str = "",
    dtype: Literal["float16", "float32"] = "float32",
) -> MovieDataset:
    """Write one subject's runs as a dataset, or add them to one.

    Parameters
    ----------
    root : path
    runs : sequence of MovieRun
        Of one subject, all on the same voxels.
    movies : sequence of Movie
        Those that the runs show.
    splits : dict of str to str
        Split of each movie (segment): a movie is never in two.
    name, licence, source, dtype
        As for :func:`phosphene.data.prepare.write_subject`.
    """
    import pandas as pd

    from phosphene.data.prepare import write_subject
    from phosphene.trials import complete_trials

    folder = Path(root)
    tables = [_table_of(run, number, splits) for number, run in enumerate(runs, start=1)]
    trials = pd.concat(tables, ignore_index=True)
    first = runs[0].recording
    data = np.concatenate([np.asarray(run.recording.data) for run in runs])
    recording = replace(first, data=data, trials=complete_trials(trials, len(trials)))
    write_subject(folder, recording, None, name=name, licence=licence, source=source, dtype=dtype)
    known = read_movies(folder / "stimuli") if (folder / "stimuli" / TABLE).is_file() else {}
    write_movies(
        folder / "stimuli", list((known | {movie.stimulus_id: movie for movie in movies}).values())
    )
    return MovieDataset.open(folder)


def _table_of(run: MovieRun, number: int, splits: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    known = dict(run.recording.trials.iloc[0])
    return pd.DataFrame(
        {
            "session": str(known.get("session", "01")),
            "run": f"{number:03d}",
            "trial": np.arange(len(run)),
            "stimulus_id": run.segment,
            "repetition": run.repetition,
            "split": splits[run.segment],
            TIME: run.times,
        }
    )
