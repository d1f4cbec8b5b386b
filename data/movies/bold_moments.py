"""The BOLD Moments Dataset (Lahner et al. 2024): responses to 1,102 clips of 3 s.

Ten subjects; 1,000 clips shown three times, for training, and 102 shown ten times, for the test.
Read are the prepared betas of its version B (GLMsingle), z-scored within each session by mean and
spread of the training trials, in any of four forms. They are responses, not volumes, and laid out
as runs (:mod:`~phosphene.data.movies.clip_responses`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from phosphene.data.movies.bold_moments_betas import (
    CLIP,
    EXPECTED,
    FORMS,
    Responses,
    find_betas,
    read_betas,
)
from phosphene.data.movies.clip_responses import (
    Segment,
    check_frames,
    clip_runs,
    segments_of,
    write_clips,
)
from phosphene.data.movies.dataset import MovieDataset, write_movie_dataset
from phosphene.data.movies.frames import MOVIE_SUFFIXES
from phosphene.data.readers.damage import existing_folder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.types import VoxelSpace

__all__ = ["BoldMomentsSettings", "prepare_bold_moments"]

CLIPS = (
    "derivatives/stimuli_metadata/stimulus_set/mp4_h264", "stimuli_metadata/stimulus_set/mp4_h264",
    "stimulus_set/mp4_h264", "stimulus_set", "mp4_h264", "stimuli",
)  # fmt: skip


@dataclass(frozen=True)
class BoldMomentsSettings:
    """What may be chosen.

    Attributes
    ----------
    subjects : tuple of str
        All by default.
    form : {"auto", "areas", "mni", "fslr32k", "fsaverage"}
        Areas side by side, the voxels of the group's mask, or vertices; ``auto`` takes the first
        that is there.
    areas : tuple of str
        ``V1v`` stands for ``lV1v`` and ``rV1v``. By default all of the form ``areas`` but
        BMDgeneral, which was chosen by test clips too; of ``mni``, all voxels.
    movies : path, optional
        Folder of ``0001.mp4``, ...; found below the source by default.
    validation : int
        Movies of fifty clips, the last ones of the training set.
    fps, size : float, int
        Of the movies that the clips are written as.
    dtype : {"float16", "float32"}
    """

    subjects: tuple[str, ...] = ()
    form: str = "auto"
    areas: tuple[str, ...] = ()
    movies: Path | None = None
    validation: int = 2
    fps: float = 10.0
    size: int = 128
    dtype: str = "float32"


def prepare_bold_moments(
    source: str | os.PathLike[str], output: str | os.PathLike[str], settings: BoldMomentsSettings
) -> tuple[MovieDataset, list[str]]:
    """Write the subjects of a local copy as one dataset of movies.

    Returns
    -------
    dataset : MovieDataset
    notes : list of str

    Raises
    ------
    InputError
        If there is nothing of the dataset, a file is damaged or a malicious pickle, or clips are
        missing.
    """
    check_option("form", settings.form, ("auto", *FORMS))
    check_option("dtype", settings.dtype, ("float16", "float32"))
    check_frames(settings.fps, settings.size)
    if settings.validation < 0:
        raise UsageError(f"{settings.validation} movies for validation", "0 or more")
    root = existing_folder(source, EXPECTED)
    form, files = find_betas(root, settings.form)
    absent = [label for label in settings.subjects if label not in files]
    if absent:
        raise UsageError(
            f"{source} has no subject {', '.join(absent)} in the form {form}",
            expected=f"of {', '.join(sorted(files))}",
        )
    notes, segments = [f"form: {form}"], dict[str, Segment]()
    for label in settings.subjects or tuple(sorted(files)):
        parts, said = read_betas(form, files[label], settings.areas)
        laid, splits = _lay_out(parts, settings.validation)
        segments |= {segment.name: segment for segment in laid}
        space = VoxelSpace.columns(next(iter(parts.values()))[0].shape[2])
        write_movie_dataset(
            output,
            [
                run
                for part, (data, numbers) in parts.items()
                for run in clip_runs(label, data, space, segments_of(numbers))
            ],
            [],
            splits=splits,
            name="bold-moments",
            licence="CC0",
            source="Lahner et al. 2024, OpenNeuro ds005165",
            dtype=settings.dtype,  # type: ignore[arg-type]
        )
        counts = ", ".join(
            f"{len(data)} clips of {part} shown {data.shape[1]} times"
            for part, (data, _) in parts.items()
        )
        notes.append(f"subject {label}: {counts}; {said}")
    notes.append(_write_clips(root, Path(output), list(segments.values()), settings))
    return MovieDataset.open(output), notes


def _lay_out(parts: dict[str, Responses], validation: int) -> tuple[list[Segment], dict[str, str]]:
    """Return the movies of all clips and the split of each, as published: whole movies."""
    laid = {part: segments_of(numbers) for part, (_, numbers) in parts.items()}
    splits = {segment.name: part for part, segments in laid.items() for segment in segments}
    held_out = min(validation, len(laid["train"]) - 1)
    for segment in laid["train"][len(laid["train"]) - held_out :]:
        splits[segment.name] = "validation"
    return [segment for segments in laid.values() for segment in segments], splits


def _write_clips(
    root: Path, output: Path, segments: list[Segment], settings: BoldMomentsSettings
) -> str:
    """Write the clips, fifty after one another, as the movies of the dataset."""
    own = root.resolve()
    folders = [settings.movies] if settings.movies is not None else [
        above / name for above in (own, *list(own.parents)[:4]) for name in CLIPS
    ]  # fmt: skip
    files: dict[int, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() and not files else ():
            name = CLIP.fullmatch(path.stem)
            if name is not None and path.suffix.lower() in MOVIE_SUFFIXES:
                files[int(name["number"])] = path
    if not files:
        return "no clips: give the folder of 0001.mp4 with --movies to train on them"
    absent = [n for segment in segments for n in segment.numbers if n not in files]
    if absent:
        raise InputError(
            f"{next(iter(files.values())).parent} lacks {len(absent)} clips, {absent[0]:04d} first",
            expected="a clip for every response, named by its number: 0001.mp4",
            remedy="copy the whole stimulus set, or name its folder with --movies",
        )
    return write_clips(output / "stimuli", segments, files, fps=settings.fps, size=settings.size)
