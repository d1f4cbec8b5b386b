"""Writing CC2017 as a dataset of movies, from either form it is found in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.movies.adding import add_movies, movie_in
from phosphene.data.movies.cc2017 import (
    EXCLUDED,
    FORMS,
    MOVIE_SECONDS,
    TR,
    TRIMMED_START,
    OfficialRun,
    find_official_runs,
    read_official_run,
)
from phosphene.data.movies.cc2017_tensors import find_tensors, frames_of, showings
from phosphene.data.movies.dataset import TIME
from phosphene.data.movies.frames import MovieFile, write_movie
from phosphene.data.movies.reproducible import FEWEST, repeat_correlation, reproducible_voxels
from phosphene.data.readers.damage import existing_folder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.progress import progress

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.canonical import CanonicalDataset
    from phosphene.types import VoxelSpace

__all__ = ["CC2017Settings", "prepare_cc2017"]

Array = np.ndarray[Any, Any]
Showing = tuple[str, int, Array, float]
MASKS = ("auto", "reproducible", "all")
EXPECTED = (
    "subject1/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii and its neighbours, "
    "subject1/fmri/seg1/mni/seg1_1_mni.nii.gz, or subj01_train_fmri.pt and subj01_test_fmri.pt"
)


@dataclass(frozen=True)
class CC2017Settings:
    """What may be chosen.

    Attributes
    ----------
    subjects : tuple of str
        All by default.
    form : {"auto", "cifti", "mni", "tensors"}
    mask : {"auto", "reproducible", "all"}
        ``auto`` keeps reproducible voxels where at least three training segments were shown
        twice and any voxel passes.
    alpha : float
        Of the corrected p-value of reproducible voxels.
    roi : str, optional
        Mask or atlas for volumes, in place of all voxels that vary.
    validation : int
        Training segments, counted from the last, that are held out for validation.
    trim : bool
        Whether to keep the usual 240 volumes, those from second 4 of the movie on.
    movies : path, optional
        Folder of ``seg1.mp4``, ...; found below the source by default.
    dtype : {"float16", "float32"}
    """

    subjects: tuple[str, ...] = ()
    form: str = "auto"
    mask: str = "auto"
    alpha: float = 0.05
    roi: str | None = None
    validation: int = 2
    trim: bool = True
    movies: Path | None = None
    dtype: str = "float16"


@dataclass(eq=False)
class _Source:
    """Showings of one subject, read one at a time, as often as needed."""

    subject: str
    read: Callable[[], Iterator[Showing]]
    pairs: Callable[[], Iterator[tuple[Array, Array]]]
    notes: list[str] = field(default_factory=list)
    space: VoxelSpace | None = None


def prepare_cc2017(
    source: str | os.PathLike[str], output: str | os.PathLike[str], settings: CC2017Settings
) -> tuple[CanonicalDataset, list[str]]:
    """Write the subjects of a local copy as one dataset of movies.

    Returns
    -------
    dataset : CanonicalDataset
    notes : list of str
        What was chosen and left out, a line each.

    Raises
    ------
    InputError
        If there is nothing of the dataset, or a run is not what it has to be.
    """
    from phosphene.data.canonical import CanonicalDataset

    check_option("mask", settings.mask, MASKS)
    check_option("form", settings.form, ("auto", *FORMS, "tensors"))
    check_option("dtype", settings.dtype, ("float16", "float32"))
    if not 0 < settings.alpha < 1 or settings.validation < 0:
        raise UsageError(
            f"alpha is {settings.alpha} and validation {settings.validation}",
            expected="a p-value between 0 and 1, and a number of segments",
        )
    root = existing_folder(source, EXPECTED)
    form, sources = _sources(root, settings)
    notes = [f"form: {form}"]
    for one in sources:
        notes += [f"subject {one.subject}: {note}" for note in _write(one, Path(output), settings)]
    notes += _add_movies(root, Path(output), settings, form)
    return CanonicalDataset.open(output), notes


def _sources(root: Path, settings: CC2017Settings) -> tuple[str, list[_Source]]:
    for form in FORMS:
        if settings.form in ("auto", form) and (official := find_official_runs(root, form)):
            names = _chosen(sorted(official), settings.subjects, root)
            return form, [_official(official[name], settings) for name in names]
    if settings.form in ("auto", "tensors") and (tensors := find_tensors(root)):
        names = _chosen(sorted(tensors), settings.subjects, root)
        return "tensors", [_tensors(name, tensors[name]) for name in names]
    raise InputError(
        f"{root} holds no run of CC2017"
        + ("" if settings.form == "auto" else f" in the form {settings.form}"),
        expected=EXPECTED,
        remedy="check --source; it is the folder video_fmri_dataset or the one above it",
    )


def _chosen(there: list[str], wanted: tuple[str, ...], root: Path) -> list[str]:
    absent = [name for name in wanted if name not in there]
    if absent:
        raise UsageError(
            f"{root} has no subject {', '.join(absent)}",
            expected=f"of {', '.join(there)}",
            remedy="labels have two digits: 01 is subject1",
        )
    return list(wanted) or there


def _official(runs: list[OfficialRun], settings: CC2017Settings) -> _Source:
    kept, subject = [run for run in runs if not run.excluded], runs[0].subject
    notes = [
        f"{run.segment} repetition {run.repetition} left out: it lags the movie by about 10 s"
        for run in runs
        if run.excluded
    ]
    found = _Source(subject, lambda: iter(()), lambda: iter(()), notes)

    def load(run: OfficialRun) -> tuple[Array, float]:
        data, start, found.space = read_official_run(
            run, found.space, roi=settings.roi, trim=settings.trim
        )
        return data, start

    def read() -> Iterator[Showing]:
        for run in progress(kept, label=f"subject {found.subject}", total=len(kept)):
            data, start = load(run)
            yield run.segment, run.repetition, data, start

    def pairs() -> Iterator[tuple[Array, Array]]:
        named = {(run.segment, run.repetition): run for run in kept}
        for segment in dict.fromkeys(run.segment for run in kept):
            two = [named.get((segment, repetition)) for repetition in (1, 2)]
            if segment.startswith("seg") and two[0] is not None and two[1] is not None:
                first, second = load(two[0]), load(two[1])
                yield _common(first, second)

    found.read, found.pairs = read, pairs
    return found


def _common(first: tuple[Array, float], second: tuple[Array, float]) -> tuple[Array, Array]:
    """Cut two showings to the seconds of the movie that both have."""
    (a, start_a), (b, start_b) = first, second
    begin = max(start_a, start_b)
    a, b = a[round((begin - start_a) / TR) :], b[round((begin - start_b) / TR) :]
    n = min(len(a), len(b))
    return a[:n], b[:n]


def _tensors(subject: str, paths: dict[str, Path]) -> _Source:
    def read() -> Iterator[Showing]:
        for part in ("train", "test"):
            if part in paths:
                for segment, repetition, data in showings(paths[part], subject, part):
                    yield segment, repetition, data, TRIMMED_START

    def pairs() -> Iterator[tuple[Array, Array]]:
        waiting: dict[str, Array] = {}
        if "train" in paths:
            for segment, repetition, data in showings(paths["train"], subject, "train"):
                if repetition == 1:
                    waiting[segment] = data
                elif repetition == 2:
                    yield waiting.pop(segment), data

    notes = [
        f"{segment} repetition {repetition} left out: it lags the movie by about 10 s"
        for label, segment, repetition in sorted(EXCLUDED)
        if label == subject and "test" in paths
    ]
    return _Source(subject, read, pairs, notes)


def _voxels(source: _Source, settings: CC2017Settings) -> tuple[Array | None, str]:
    """Return the columns to keep, None for all, and what to say about it."""
    if settings.mask == "all":
        return None, "all voxels"
    correlations = [repeat_correlation(*pair) for pair in source.pairs()]
    if settings.mask == "auto" and len(correlations) < FEWEST:
        return None, f"all voxels ({len(correlations)} training segments were shown twice)"
    chosen = reproducible_voxels(correlations, alpha=settings.alpha)
    if not chosen.any():
        if settings.mask == "auto":
            return None, "all voxels (none is reproducible)"
        raise InputError(
            f"no voxel of subject {source.subject} answers {len(correlations)} segments alike in "
            "both showings",
            expected=f"voxels of a corrected p below {settings.alpha:g}",
            remedy="check the runs, or give --mask all",
        )
    said = f"{int(chosen.sum())} of {len(chosen)} voxels are reproducible"
    return np.flatnonzero(chosen), f"{said} (p < {settings.alpha:g} corrected)"


def _write(source: _Source, output: Path, settings: CC2017Settings) -> list[str]:
    import pandas as pd

    from phosphene.data.prepare import write_subject
    from phosphene.trials import complete_trials
    from phosphene.types import Recording, VoxelSpace

    chosen, said = _voxels(source, settings)
    blocks, tables = [], []
    width = None
    for number, (segment, repetition, data, start) in enumerate(source.read(), start=1):
        width = data.shape[1] if width is None else width
        if data.shape[1] != width:
            raise InputError(
                f"{segment} repetition {repetition} has {data.shape[1]} voxels",
                expected=f"{width}, as the runs before it",
                remedy="prepare one form at a time",
            )
        part = data if chosen is None else data[:, chosen]
        blocks.append(part.astype(settings.dtype))
        tables.append(_table(segment, repetition, start, len(part), number))
    if not blocks or width is None:
        left_out = f" but what is left out: {'; '.join(source.notes)}" if source.notes else ""
        raise InputError(
            f"subject {source.subject} has no runs{left_out}",
            EXPECTED,
            "add runs, or choose other subjects with --subject",
        )
    trials = pd.concat(tables, ignore_index=True)
    splits = _splits(list(dict.fromkeys(trials["stimulus_id"])), settings.validation)
    trials["split"] = trials["stimulus_id"].map(splits)
    space = source.space or VoxelSpace.columns(width)
    if chosen is not None:
        space = replace(space, indices=space.indices[chosen])
    recording = Recording(
        np.concatenate(blocks), "fmri", source.subject, complete_trials(trials, len(trials)), space
    )
    write_subject(
        output, recording, None, name="cc2017", licence="CC0", source="Wen et al. 2018",
        dtype=settings.dtype,  # type: ignore[arg-type]
    )  # fmt: skip
    held_out = ", ".join(name for name, split in splits.items() if split == "validation")
    return [
        *source.notes,
        said,
        f"validation: {held_out or 'none, as there are too few training segments'}",
        f"{len(tables)} runs, {len(trials)} volumes",
    ]


def _table(segment: str, repetition: int, start: float, n: int, number: int) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "session": "01",
            "run": f"{number:03d}",
            "trial": np.arange(n),
            "stimulus_id": segment,
            "repetition": repetition,
            TIME: start + TR * np.arange(n),
        }
    )


def _splits(segments: list[str], validation: int) -> dict[str, str]:
    """Return the split of every segment: whole ones are held out."""
    train = sorted(
        (name for name in segments if name.startswith("seg")),
        key=lambda name: int(re.sub(r"\D", "", name)),
    )
    held_out = train[len(train) - min(validation, max(0, len(train) - 1)) :]
    return {
        name: "test" if name.startswith("test") else "validation" if name in held_out else "train"
        for name in segments
    }


def _add_movies(root: Path, output: Path, settings: CC2017Settings, form: str) -> list[str]:
    """Put the movies into the dataset; frames in tensors become movies."""
    inner, own = root / "video_fmri_dataset", root.resolve()
    places = [root, inner, *own.parents[:2]]
    folders = [settings.movies] if settings.movies is not None else [
        *(place / name for place in places for name in ("stimuli", "movies")), root, inner,
    ]  # fmt: skip

    def find(segment: str) -> Path | None:
        path = movie_in(folders, [segment])
        if path is None and form == "tensors":
            return _movie_from_frames(root, output / "stimuli", segment)
        return path

    return add_movies(output, find, _check_length)


def _check_length(segment: str, movie: MovieFile) -> None:
    if abs(movie.seconds - MOVIE_SECONDS) > TR:
        raise InputError(
            f"the movie {movie.path} lasts {movie.seconds:g} s",
            expected=f"{MOVIE_SECONDS:g} s, which runs of 245 or 246 volumes were recorded for",
            remedy=f"check that it is the movie of {segment}, whole",
        )


def _movie_from_frames(root: Path, folder: Path, segment: str) -> Path | None:
    part = "test" if segment.startswith("test") else "train"
    frames = frames_of(root, part, int(re.sub(r"\D", "", segment)))
    if frames is None:
        return None
    path = folder / f"{segment}.mp4"
    write_movie(path, *frames)
    return path
