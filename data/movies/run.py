"""A run of continuous activity under a movie, in absolute seconds of the movie.

Nothing about timing hides in which volumes were kept. A run knows when each of its volumes began
in seconds of the movie; which volumes belong to a clip follows from delay and window, which are
arguments. That every volume j belongs to clip j "after trimming" is a delay as well, of as many
seconds as the first kept volume lies after the start of the movie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.types import Recording

__all__ = ["DELAY", "MovieClips", "MovieRun", "first_scene", "scene_groups"]

Array = np.ndarray[Any, Any]

DELAY = 4.0
"""Seconds from the start of a clip to the first volume that is read for it, by default."""
SAME = 1e-6  # seconds: less than this apart is the same moment


@dataclass(frozen=True, eq=False)
class MovieClips:
    """Clips of one run, each with the volumes that tell of it.

    Attributes
    ----------
    segment : str
        Name of the movie.
    start : (n,) float
        Seconds of the movie at which each clip begins.
    length : float
        Seconds of a clip.
    rows : (n, n_volumes) int
        Rows of the recording, in the order of time; equally many for every clip.
    times : (n, n_volumes) float
        Seconds of the movie at which these volumes began; the window asked for begins at
        ``start + delay``, and the first volume within half a TR of that.
    straddles : (n,) bool
        Whether a new scene begins inside the clip.
    scene : (n,) str
        ``SEGMENT/0003``, or ``SEGMENT/0003-0004`` for a clip that straddles a cut.
    delay : float
    n_left_out : int
        Clips of the movie whose volumes the run does not have.
    """

    segment: str
    start: Array
    length: float
    rows: Array
    times: Array
    straddles: Array
    scene: Array
    delay: float
    n_left_out: int

    def __len__(self) -> int:
        return len(self.start)

    @property
    def stop(self) -> Array:
        """Seconds of the movie at which each clip ends (n,)."""
        return self.start + self.length

    @property
    def keys(self) -> list[str]:
        """Names of the clips, by movie and millisecond of its start: ``a_at-002500``."""
        return [f"{self.segment}_at-{round(1000 * second):06d}" for second in self.start.tolist()]

    def frames(self, fps: float, n_frames: int | None = None) -> Array:
        """Return which frames of the movie each clip shows (n, frames of a clip).

        Parameters
        ----------
        fps : float
            Frames per second of the movie, constant.
        n_frames : int, optional
            Of a clip: evenly spaced, each the frame on the screen in the middle of its share of
            the time. By default as many as the movie has in that time.
        """
        count = round(self.length * fps) if n_frames is None else n_frames
        if count < 1 or fps <= 0:
            raise UsageError(
                f"{count} frames per clip of {self.length:g} s at {fps:g} per second",
                expected="at least one frame and a positive rate",
            )
        middle = (np.arange(count) + 0.5) * (self.length / count)
        frames: Array = np.floor((self.start[:, None] + middle) * fps + SAME).astype(np.int64)
        return frames

    def select(self, chosen: Array) -> MovieClips:
        """Return some of the clips, by a mask or by positions."""
        return replace(
            self,
            **{name: getattr(self, name)[chosen] for name in ("start", "rows", "times", "scene")},
            straddles=self.straddles[chosen],
        )


@dataclass(frozen=True, eq=False)
class MovieRun:
    """Continuous activity of one subject during one showing of one movie.

    Parameters
    ----------
    recording : Recording
        fMRI: ``data`` (n_volumes, n_voxels), a row per volume in the order of time.
    segment : str
        Name of the movie.
    tr : float
        Seconds from the start of one volume to the start of the next.
    onset : float
        Seconds after the start of the first volume at which the movie begins; negative where
        it was running already.
    duration : float, optional
        Length of the movie in seconds; without it clips go on to the end of the run.
    cuts : sequence of float
        Seconds of the movie at which a new scene begins, increasing.
    repetition : int
        Which showing of the movie this is, from 1.
    averaged : int
        Of how many showings it is the mean.

    Raises
    ------
    InputError
        If the timing is impossible: no positive TR, a movie that begins after the run has ended,
        cuts outside the movie.

    Examples
    --------
    ::

        run = MovieRun(recording, "seg1", tr=2.0, onset=-2.0, duration=480.0)
        clips = run.clips(2.0, delay=4.0, window=4.0)
        run.windows(clips)  # (n_clips, 2, n_voxels)
    """

    recording: Recording
    segment: str
    tr: float
    onset: float = 0.0
    duration: float | None = None
    cuts: Sequence[float] = ()
    repetition: int = 1
    averaged: int = 1

    def __post_init__(self) -> None:
        if self.recording.modality != "fmri":
            raise UsageError(
                f"a movie run of {self.recording.modality}", expected="continuous fMRI volumes"
            )
        if not (math.isfinite(self.tr) and self.tr > 0):
            raise InputError(
                f"the run of {self.segment} has a TR of {self.tr:g} s",
                expected="the seconds between volumes, above 0",
                remedy="give --tr SECONDS",
            )
        if not math.isfinite(self.onset) or self.onset >= self.seconds:
            raise InputError(
                f"the movie {self.segment} begins {self.onset:g} s after the first volume",
                expected=f"before the run ends, {self.seconds:g} s after it "
                f"({_volumes(len(self))} of {self.tr:g} s)",
                remedy="check --onset (seconds after the first volume, negative where the movie "
                "was running already)",
            )
        if self.duration is not None and not (self.duration > 0 and -self.onset < self.duration):
            raise InputError(
                f"the movie {self.segment} lasts {self.duration:g} s and began "
                f"{-self.onset:g} s before the run",
                expected="a movie that is running during the run",
                remedy="check the onset and the length of the movie",
            )
        cuts = np.asarray(self.cuts, dtype=np.float64)
        end = math.inf if self.duration is None else self.duration
        if cuts.size and (np.any(np.diff(cuts) <= 0) or cuts[0] <= 0 or cuts[-1] >= end + SAME):
            raise InputError(
                f"cuts of the movie {self.segment} that repeat, go back or lie outside it",
                expected=f"increasing seconds above 0 and below {end:g}",
                remedy="count the seconds of cuts from the start of the movie",
            )
        object.__setattr__(self, "cuts", tuple(cuts.tolist()))

    def __len__(self) -> int:
        return len(self.recording)

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return len(self.recording) * self.tr

    @property
    def times(self) -> Array:
        """Seconds of the movie at which each volume began (n_volumes,)."""
        return np.arange(len(self.recording)) * self.tr - self.onset

    def clips(
        self,
        length: float = 2.0,
        *,
        step: float | None = None,
        delay: float = DELAY,
        window: float | None = None,
    ) -> MovieClips:
        """Cut the movie into clips and find the volumes of each.

        A clip that begins at second s is told of by the volumes that began from ``s + delay``
        on, for ``window`` seconds; where volumes do not fall on these moments, by those nearest.

        Parameters
        ----------
        length : float
            Seconds of a clip.
        step : float, optional
            Seconds from one clip to the next; clips lie side by side by default.
        delay : float
            Seconds; may be negative (what came before the clip, a control).
        window : float, optional
            Seconds; the length of a clip by default.

        Raises
        ------
        UsageError
            If a length is not positive.
        InputError
            If the run has no clip whose volumes are all there.
        """
        step, window = step or length, length if window is None else window
        settled = all(map(math.isfinite, (length, step, window, delay)))
        if not settled or min(length, step, window) <= 0:
            raise UsageError(
                f"clips of {length:g} s every {step:g} s, read for {window:g} s after {delay:g} s",
                expected="positive lengths in seconds",
            )
        end = self.seconds - self.onset if self.duration is None else self.duration
        if end + SAME < length:
            raise InputError(
                f"{self.segment} lasts {end:g} s" if self.duration is not None
                else f"the run of {self.segment} goes on for {end:g} s after the movie began",
                expected=f"at least one clip of {length:g} s",
                remedy="check the movie, --tr and --onset, or use shorter clips",
            )  # fmt: skip
        start = np.arange(math.floor((end - length) / step + SAME) + 1) * step
        count = max(1, round(window / self.tr))
        first = np.floor((start + delay + self.onset) / self.tr + 0.5 + SAME).astype(np.int64)
        there = (first >= 0) & (first + count <= len(self))
        if not there.any():
            raise InputError(
                f"the run of {self.segment} has {_volumes(len(self))} ({self.seconds:g} s), none "
                f"of them the {count} that tell of a clip of {length:g} s",
                expected=f"a run that goes on for at least {delay + window:g} s after the start "
                f"of a clip, the movie beginning {self.onset:g} s after the first volume",
                remedy="check --tr, --onset and the delay, or use shorter clips",
            )
        start, rows = start[there], first[there, None] + np.arange(count)
        before, after = self._scenes(start, length)
        return MovieClips(
            segment=self.segment,
            start=start,
            length=length,
            rows=rows,
            times=self.times[rows],
            straddles=before != after,
            scene=_scene_names(self.segment, before, after),
            delay=delay,
            n_left_out=int((~there).sum()),
        )

    def windows(self, clips: MovieClips) -> Array:
        """Return the volumes of every clip (n, n_volumes, n_voxels)."""
        return np.asarray(self.recording.data[clips.rows])

    def _scenes(self, start: Array, length: float) -> tuple[Array, Array]:
        """Return the number of the scene at the start of each clip and at its end."""
        cuts = np.asarray(self.cuts, dtype=np.float64)
        before = np.searchsorted(cuts, start + SAME, side="right")
        after = np.searchsorted(cuts, start + length - SAME, side="left")
        return before, np.maximum(before, after)


def _volumes(count: int) -> str:
    return f"{count} volume{'' if count == 1 else 's'}"


def _scene_names(segment: str, before: Array, after: Array) -> Array:
    names = [
        f"{segment}/{a:04d}" if a == b else f"{segment}/{a:04d}-{b:04d}"
        for a, b in zip(before.tolist(), after.tolist(), strict=True)
    ]
    return np.array(names, dtype=object)


def scene_groups(scenes: Sequence[str]) -> list[str]:
    """Return a group per clip such that no scene is in two groups.

    A clip that straddles a cut shows parts of two scenes, which therefore go together, and so on.
    Groups can be given to :class:`phosphene.data.splits.GroupFolds`. Neighbouring scenes share
    blood that is still rising: where runs allow it, hold out whole segments.

    Examples
    --------
    >>> scene_groups(["a/0000", "a/0000-0001", "a/0001", "a/0002"])
    ['a/0000', 'a/0000', 'a/0000', 'a/0002']
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    parts = [_members(scene) for scene in scenes]
    for first, *others in parts:
        for other in others:
            a, b = sorted((root(first), root(other)))
            parent[b] = a
    return [root(first) for first, *_ in parts]


def first_scene(scene: str) -> str:
    """Return the single scene in which a clip begins.

    Examples
    --------
    >>> first_scene("test-000/0002-0003"), first_scene("seg1/0004")
    ('test-000/0002', 'seg1/0004')
    """
    return _members(scene)[0]


def _members(scene: str) -> list[str]:
    """Return the names of the single scenes that a clip shows."""
    segment, _, numbers = scene.rpartition("/")
    first, dash, last = numbers.partition("-")
    if not dash:
        return [scene]
    return [f"{segment}/{number:04d}" for number in range(int(first), int(last) + 1)]
