"""Responses to single clips, laid out as runs under movies.

What is published of short clips are responses, not volumes. Fifty clips after one another are
taken for a movie with a cut between any two, and the response to a clip for the volume that began
with it: delay 0 and a window of one clip then read for each clip its own response. Every showing
is a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.movies.dataset import Movie, write_movies
from phosphene.data.movies.frames import open_movie, write_movie
from phosphene.data.movies.run import MovieRun
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.types import Recording

if TYPE_CHECKING:
    from phosphene.types import VoxelSpace

__all__ = ["Segment", "check_frames", "clip_runs", "segments_of", "write_clips"]

Array = np.ndarray[Any, Any]
SECONDS = 3.0  # of a clip
LENGTH = 50  # clips of a movie


@dataclass(frozen=True)
class Segment:
    """Clips that are laid out as one movie.

    Attributes
    ----------
    numbers : tuple of int
        Of the clips, in the order of the movie.
    rows : slice
        Of the responses.
    """

    numbers: tuple[int, ...]
    rows: slice

    @property
    def name(self) -> str:
        """Name of the movie."""
        return f"clips-{self.numbers[0]:04d}-{self.numbers[-1]:04d}"

    @property
    def cuts(self) -> tuple[float, ...]:
        """Seconds of the movie at which a clip begins, but the first."""
        return tuple(SECONDS * place for place in range(1, len(self.numbers)))


def segments_of(numbers: Sequence[int]) -> list[Segment]:
    """Return the movies that clips are laid out as, fifty at a time.

    Examples
    --------
    >>> [segment.name for segment in segments_of(range(1, 104))]
    ['clips-0001-0050', 'clips-0051-0100', 'clips-0101-0103']
    >>> [segment.name for segment in segments_of(range(1, 52))]  # one volume makes no run
    ['clips-0001-0051']
    """
    count = len(numbers)
    starts = [start for start in range(0, count, LENGTH) if start == 0 or count - start > 1]
    stops = [*starts[1:], count]
    return [
        Segment(tuple(numbers[start:stop]), slice(start, stop))
        for start, stop in zip(starts, stops, strict=True)
    ]


def clip_runs(
    label: str, data: Array, space: VoxelSpace, segments: Sequence[Segment]
) -> list[MovieRun]:
    """Return a run for every movie and showing.

    Parameters
    ----------
    label : str
        Of the subject.
    data : ndarray of shape (n_clips, n_showings, n_voxels)
    space : VoxelSpace
    segments : sequence of Segment
    """
    from phosphene.trials import complete_trials

    runs = []
    for segment in segments:
        part = data[segment.rows]
        for showing in range(data.shape[1]):
            values = np.asarray(part[:, showing], dtype=np.float32)
            recording = Recording(values, "fmri", label, complete_trials(None, len(part)), space)
            runs.append(
                MovieRun(
                    recording,
                    segment.name,
                    tr=SECONDS,
                    duration=SECONDS * len(part),
                    cuts=segment.cuts,
                    repetition=showing + 1,
                )
            )
    return runs


def check_frames(fps: float, size: int) -> None:
    """Refuse movies that cannot be written."""
    if size % 2 or size < 16 or not 1 <= fps <= 30:
        raise UsageError(
            f"movies of {size} pixels at {fps:g} frames per second",
            expected="an even side of 16 or more, and 1 to 30 frames per second",
        )


def write_clips(
    folder: Path, segments: Sequence[Segment], files: dict[int, Path], *, fps: float, size: int
) -> str:
    """Write clips after one another as the movies of a dataset; say what was written.

    Parameters
    ----------
    folder : path
        Of the movies; it and its table are made.
    segments : sequence of Segment
    files : dict of int to path
        Clip of each number.
    fps : float
        Frames per second of the movies.
    size : int
        Side of the movies in pixels.
    """
    movies = []
    for segment in progress(segments, label="movies", total=len(segments)):
        path = folder / f"{segment.name}.mp4"
        folder.mkdir(parents=True, exist_ok=True)
        clips = [files[number] for number in segment.numbers]
        write_movie(path, _frames(clips, fps, size), fps)
        movies.append(Movie(segment.name, path, segment.cuts))
    write_movies(folder, movies)
    return f"movies: {len(movies)}, of {sum(len(one.numbers) for one in segments)} clips"


def _frames(files: list[Path], fps: float, size: int) -> Iterator[Array]:
    """Yield the frames of clips, each at its share of 3 s."""
    moments = (np.arange(round(SECONDS * fps)) + 0.5) / fps
    for path in files:
        clip = open_movie(path)
        if abs(clip.seconds - SECONDS) > SECONDS / 6:
            raise InputError(
                f"the clip {path} lasts {clip.seconds:g} s",
                expected=f"{SECONDS:g} s",
                remedy="take the clips as they were published",
            )
        places = np.minimum((moments * clip.fps).astype(int), clip.n_frames - 1)
        yield from clip.read(places, size)
