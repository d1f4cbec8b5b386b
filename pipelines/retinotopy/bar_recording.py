"""A recording of visual cortex while bars sweep over the screen, one frame per volume."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.priors.bars import EMPTY
from phosphene.storage import load_array

__all__ = ["BarRecording", "parse_ranges"]

Array = np.ndarray[Any, Any]

SCREEN = 10.0  # degrees: the height of a screen whose size is not known
OFTEN = 0.25  # share of frames with a bar in which a pixel of the fixation mark is lit


@dataclass(frozen=True, eq=False)
class BarRecording:
    """Volumes and frames of one run.

    Attributes
    ----------
    bold : (n, n_voxels) float32
    video : (n, height, width) bool
        What was on the screen during each volume; rows from top to bottom.
    tr : float
        Seconds.
    pixels : (height * width, 2) float64
        Degrees to the right and up, of the pixels of a flattened frame.
    """

    bold: Array
    video: Array
    tr: float
    pixels: Array

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> BarRecording:
        """Read ``bars.npz`` (``bold``, ``video``, ``tr``) and ``grid_coordinates.tsv``.

        Where the table is missing, the screen is taken to be 10 degrees high.

        Raises
        ------
        InputError
            If an array is missing, does not fit the others, or holds values that are not finite.
        """
        path = Path(folder) / "bars.npz"
        bold, video, tr = (_array(path, name) for name in ("bold", "video", "tr"))
        if bold.ndim != 2 or video.ndim != 3 or len(bold) != len(video) or 0 in bold.shape:
            raise InputError(
                f"{path} holds bold of shape {bold.shape} and video of shape {video.shape}",
                expected="(n, n_voxels) and (n, height, width): one frame per volume",
                remedy="cut both to the same volumes",
            )
        if tr.size != 1 or not (np.isfinite(tr).all() and float(tr.reshape(-1)[0]) > 0):
            raise InputError(
                f"the TR in {path} is {tr.tolist()}",
                expected="the seconds between volumes, one number above 0",
                remedy="write it as `tr` into the file",
            )
        broken = np.flatnonzero(~np.isfinite(bold).all(axis=1))
        if len(broken):
            raise InputError(
                f"{len(broken)} volumes of {path} hold values that are not finite, "
                f"volume {broken[0]} for example",
                expected="finite numbers",
                remedy="interpolate or leave out these volumes, or mask voxels outside the brain",
            )
        levels = np.unique(video)
        if len(levels) > 2 or len(levels) == 0 or (levels < 0).any():
            raise InputError(
                f"the video in {path} holds {len(levels)} different values",
                expected="two: 0 where nothing is shown, another one where the bar is",
                remedy="threshold the frames",
            )
        return cls(
            bold=np.asarray(bold, dtype=np.float32),
            video=video > 0,
            tr=float(tr.reshape(-1)[0]),
            pixels=_pixels(Path(folder) / "grid_coordinates.tsv", *video.shape[1:]),
        )

    def __len__(self) -> int:
        return len(self.bold)

    @cached_property
    def mark(self) -> Array:
        """Pixels (height * width,) of the fixation mark.

        Those lit in a frame without a bar or in many of those with one: a bar passes a pixel.
        """
        flat = self.video.reshape(len(self), -1)
        blank = flat.mean(axis=1) <= EMPTY
        found: Array = flat[blank].any(axis=0)
        return found | (flat[~blank].mean(axis=0) >= OFTEN) if (~blank).any() else found

    @cached_property
    def frames(self) -> Array:
        """Flattened frames (n, height * width) float32, without the fixation mark."""
        flat = self.video.reshape(len(self), -1) & ~self.mark
        return flat.astype(np.float32)

    @cached_property
    def has_bar(self) -> Array:
        """Whether a bar is on the screen (n,)."""
        shown: Array = self.frames.mean(axis=1) > EMPTY
        return shown

    def beside(self, test: Array, train: Array, seconds: float) -> Array:
        """Return the volumes that may be read for a stretch of test volumes.

        The test volumes and those right beside them, up to so many seconds away, that nothing was
        trained on: blood rises and falls seconds after a frame.
        """
        taken = np.zeros(len(self) + 2, dtype=bool)
        taken[[0, -1]] = True
        taken[np.asarray(train) + 1] = True
        reach = int(np.ceil(seconds / self.tr))
        low, high = int(test[0]), int(test[-1]) + 1
        while low > int(test[0]) - reach and not taken[low]:
            low -= 1
        while high < int(test[-1]) + 1 + reach and not taken[high + 1]:
            high += 1
        return np.arange(low, high)


def _array(path: Path, name: str) -> Array:
    try:
        return load_array(f"{path}:{name}")
    except InputError as error:
        if name == "tr" and path.is_file() and "tr" in str(error):
            raise InputError(
                f"{path} does not say its TR",
                expected="an array `tr`, seconds between volumes",
                remedy="write it into the file",
            ) from error
        raise


def _pixels(path: Path, height: int, width: int) -> Array:
    """Return the degrees of a frame's pixels; the table goes column of pixels by column."""
    if not path.is_file():
        rows, columns = np.mgrid[:height, :width]
        x, y = columns - (width - 1) / 2, (height - 1) / 2 - rows
        return np.asarray(np.c_[x.ravel(), y.ravel()] * (SCREEN / height))
    import pandas as pd

    table = pd.read_csv(path, sep="\t")
    if not {"x", "y"} <= set(table.columns) or len(table) != height * width:
        raise InputError(
            f"{path} has {len(table)} rows and the columns {', '.join(map(str, table.columns))}",
            expected=f"x and y of {height} x {width} pixels",
            remedy="write one row per pixel, column of pixels by column",
        )
    for by_column in (True, False):
        x, y = (
            part.reshape(width, height).T if by_column else part.reshape(height, width)
            for part in (table[name].to_numpy(float) for name in ("x", "y"))
        )
        if np.isfinite(x + y).all() and np.ptp(x, axis=0).max() <= 0.01 * np.ptp(x):
            return np.asarray(np.c_[x.ravel(), y.ravel()])
    raise InputError(
        f"x in {path} is not the same all along a column of pixels",
        expected="rows that go through columns of pixels, each from top to bottom",
        remedy="sort the table by x, then by y downwards",
    )


def parse_ranges(text: str, n: int, flag: str) -> Array:
    """Return the volumes of half-open ranges such as ``0:72`` or ``0:52,88:100``.

    Raises
    ------
    UsageError
        If a range is not of this form, is empty, reaches beyond the recording or overlaps another.
    """
    rows: list[int] = []
    for part in text.split(","):
        first, colon, stop = part.strip().partition(":")
        if not colon or not all(end.strip().isdigit() for end in (first, stop) if end.strip()):
            raise UsageError(
                f"{flag} is {text!r}",
                expected="half-open ranges of volumes, such as 0:72 or 0:52,88:100",
            )
        low, high = int(first or 0), int(stop) if stop.strip() else n
        if not low < high <= n:
            raise UsageError(
                f"{flag} {part.strip()} of a recording of {n} volumes",
                expected=f"a range that holds a volume and ends at {n} at the latest",
                remedy="count volumes from 0; the last one of a range is not part of it",
            )
        rows += range(low, high)
    if len(set(rows)) != len(rows):
        raise UsageError(
            f"{flag} {text} names volumes twice", expected="ranges that do not overlap"
        )
    return np.array(sorted(rows))
