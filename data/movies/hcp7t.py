"""Movie runs of the Human Connectome Project at 7 tesla, in seconds of the movie.

Four runs of about 15 minutes, a volume every second, each under one movie of several films with
rests between them; run and movie begin together. At the end of every movie the same film is shown,
to measure how well responses repeat: kept, it would be on both sides of any split. Volumes from
the rest before it on are left out.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phosphene.data.movies.adding import add_movies, movie_in
from phosphene.data.movies.cc2017 import cortex_of
from phosphene.data.movies.dataset import MovieDataset, write_movie_dataset
from phosphene.data.movies.frames import MovieFile
from phosphene.data.movies.repetition_time import settle_repetition_time
from phosphene.data.movies.run import MovieRun
from phosphene.data.movies.standardising import standardised
from phosphene.data.readers.damage import existing_folder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.progress import progress
from phosphene.types import Recording, VoxelSpace

__all__ = ["HCP7TSettings", "find_hcp_runs", "prepare_hcp7t"]

TR = 1.0
MOVIES = {
    1: "7T_MOVIE1_CC1_v2",
    2: "7T_MOVIE2_HO1_v2",
    3: "7T_MOVIE3_CC2_v2",
    4: "7T_MOVIE4_HO2_v2",
}
UNIQUE_UNTIL = {1: 798.0, 2: 795.0, 3: 792.0, 4: 777.0}
"""Second at which the last film ends that one movie alone has."""
REST = 16.0  # seconds of the rest behind it that tell of it; the shared film begins at 20
LONGEST_APART = 10.0  # seconds: run and movie may differ by no more
RUN = re.compile(r"tfMRI_MOVIE(?P<movie>[1-4])_7T_(?:AP|PA)")
EXPECTED = (
    "100610/MNINonLinear/Results/tfMRI_MOVIE1_7T_AP/tfMRI_MOVIE1_7T_AP_Atlas.dtseries.nii and "
    "its neighbours"
)


@dataclass(frozen=True)
class HCP7TSettings:
    """What may be chosen.

    Attributes
    ----------
    subjects : tuple of str
        All by default.
    variant : str, optional
        What follows the name of the run in the names of files, where there are several of a run:
        ``_Atlas_1.6mm_MSMAll_hp2000_clean``.
    roi : str, optional
        Atlas and labels, ``areas.dlabel.nii:1,2``, in place of both cortices.
    movies : path, optional
        Folder of ``7T_MOVIE1_CC1_v2.mp4``, ...; found below the source by default.
    test, validation : int
        Numbers of the movies that are held out.
    onset : float
        Seconds after the first volume at which the movie begins.
    dtype : {"float16", "float32"}
    """

    subjects: tuple[str, ...] = ()
    variant: str | None = None
    roi: str | None = None
    movies: Path | None = None
    test: int = 4
    validation: int = 3
    onset: float = 0.0
    dtype: str = "float16"


def find_hcp_runs(
    source: str | os.PathLike[str], variant: str | None = None
) -> dict[str, dict[int, Path]]:
    """Return the file of every subject and movie.

    Raises
    ------
    InputError
        If a run has several files and ``variant`` does not tell which, or two runs show one movie.
    """
    root = Path(source)
    found: dict[str, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    tails = ("MNINonLinear/Results/tfMRI_MOVIE*/*.dtseries.nii", "tfMRI_MOVIE*/*.dtseries.nii")
    for path in sorted(
        {path for tail in tails for path in (*root.glob(f"*/{tail}"), *root.glob(tail))}
    ):
        run = RUN.match(path.name)
        if run is None or RUN.fullmatch(path.parent.name) is None:
            continue
        kind = path.name.removesuffix(".dtseries.nii").removeprefix(run[0])
        if variant is not None and kind != variant:
            continue
        above = path.parents[3] if path.parents[1].name == "Results" else path.parents[1]
        label = re.sub(r"[^A-Za-z0-9]", "", above.resolve().name)
        found[label][int(run["movie"])].append(path)
    for label, movies in found.items():
        for number, paths in movies.items():
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                raise InputError(
                    f"subject {label} has {len(paths)} files of movie {number}: {names}",
                    expected="one",
                    remedy="say which kind with --variant, such as "
                    f"{RUN.sub('', paths[0].name.removesuffix('.dtseries.nii'))}",
                )
    return {label: {n: paths[0] for n, paths in movies.items()} for label, movies in found.items()}


def prepare_hcp7t(
    source: str | os.PathLike[str], output: str | os.PathLike[str], settings: HCP7TSettings
) -> tuple[MovieDataset, list[str]]:
    """Write the subjects of a local copy as one dataset of movies.

    Returns
    -------
    dataset : MovieDataset
    notes : list of str
        What was chosen and left out, a line each.

    Raises
    ------
    InputError
        If there is nothing of the dataset, or a run is not what it has to be.
    """
    check_option("dtype", settings.dtype, ("float16", "float32"))
    held_out = (settings.validation, settings.test)
    if len(set(held_out)) < 2 or not set(held_out) <= set(MOVIES):
        raise UsageError(
            f"movie {settings.test} for the test and {settings.validation} for validation",
            expected="two different movies of 1 to 4",
        )
    root = existing_folder(source, EXPECTED)
    found = find_hcp_runs(root, settings.variant)
    absent = [label for label in settings.subjects if label not in found]
    if not found or absent:
        which = "" if settings.variant is None else f" with the variant {settings.variant}"
        raise InputError(
            f"{source} holds no movie run{which}" + (f" of {', '.join(absent)}" if absent else ""),
            expected=EXPECTED,
            remedy="check --source: the folder of subjects, or of one subject",
        )
    notes = []
    for label in settings.subjects or tuple(sorted(found)):
        runs = _read_runs(label, found[label], settings)
        write_movie_dataset(
            output,
            runs,
            [],
            splits={name: _split(number, settings) for number, name in MOVIES.items()},
            name="hcp7t",
            licence="HCP open-access data use terms",
            source="Human Connectome Project, 7 T movie runs",
            dtype=settings.dtype,  # type: ignore[arg-type]
        )
        notes.append(f"subject {label}: {len(runs)} runs, {sum(map(len, runs))} volumes")
    notes.append("the film that ends every movie is left out: it would be on both sides of a split")
    folders = [settings.movies] if settings.movies is not None else [
        root, root / "stimuli", root / "movies", root / "Post_20140821_version",
        root / "movie_stimulus" / "Post_20140821_version",
    ]  # fmt: skip
    lengths = _lengths(found, settings)
    notes += add_movies(
        Path(output),
        lambda segment: movie_in(folders, [segment, segment.removesuffix("_v2")]),
        lambda segment, movie: _check_movie(segment, movie, lengths[segment], settings),
    )
    return MovieDataset.open(output), notes


def _split(number: int, settings: HCP7TSettings) -> str:
    held_out = {settings.test: "test", settings.validation: "validation"}
    return held_out.get(number, "train")


def _read_runs(label: str, files: dict[int, Path], settings: HCP7TSettings) -> list[MovieRun]:
    from phosphene.data.readers import read_recording
    from phosphene.trials import complete_trials

    space: VoxelSpace | None = None
    runs = []
    for number, path in progress(sorted(files.items()), label=f"subject {label}", total=len(files)):
        settle_repetition_time(path, TR, by="the TR of HCP 7T movie runs")
        if space is None and settings.roi is None:
            space = cortex_of(path)
        whole = read_recording(
            path, subject=label, space=space, roi=settings.roi if space is None else None
        )
        space = whole.space
        times = np.arange(len(whole)) * TR - settings.onset
        kept = int((times < UNIQUE_UNTIL[number] + REST).sum())
        data = standardised(np.asarray(whole.data[:kept]), TR)
        trials = complete_trials(None, kept)
        recording = Recording(data, "fmri", label, trials, space)
        runs.append(MovieRun(recording, MOVIES[number], TR, settings.onset))
    return runs


def _lengths(found: dict[str, dict[int, Path]], settings: HCP7TSettings) -> dict[str, float]:
    """Return how many seconds of each movie its runs lasted, by the first subject that has it."""
    import nibabel

    lengths: dict[str, float] = {}
    for label in settings.subjects or tuple(sorted(found)):
        for number, path in found[label].items():
            if MOVIES[number] not in lengths:
                shape = nibabel.load(path).shape  # type: ignore[attr-defined]
                lengths[MOVIES[number]] = shape[0] * TR - settings.onset
    return lengths


def _check_movie(segment: str, movie: MovieFile, seconds: float, settings: HCP7TSettings) -> None:
    if abs(movie.seconds - seconds) > LONGEST_APART:
        raise InputError(
            f"the movie {movie.path} lasts {movie.seconds:g} s and its run goes on for "
            f"{seconds:g} s after it began",
            expected=f"run and movie of one length, up to {LONGEST_APART:g} s",
            remedy=f"check that it is the movie of {segment}, whole, and --onset "
            f"({settings.onset:g} s)",
        )
