"""Where a new scene begins: jumps of the distribution of colours from one frame to the next.

The distance of two frames is half the sum of absolute differences of their colour histograms,
0 to 1. A cut is a frame whose distance from the one before is large as such and stands out from
the second around it, so that quick movement and flashes over several frames are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["colour_distances", "cuts_of"]

Array = np.ndarray[Any, Any]

LEAST = 0.25  # distance of two frames of different scenes
STANDS_OUT = 3.0  # times the median distance around it
LEVELS = 4  # of each colour
AROUND = 0.5  # seconds on either side
SHORTEST = 0.3  # seconds of a scene


def colour_distances(frames: Iterable[Array]) -> Array:
    """Return the distance of each frame (H, W, 3) uint8 from the one before; 0 for the first."""
    found, before = [], None
    for pixels in frames:
        small = np.asarray(pixels)[:: max(1, len(pixels) // 64), :: max(1, pixels.shape[1] // 64)]
        codes = (small.astype(np.int64) * LEVELS // 256) @ np.array([LEVELS**2, LEVELS, 1])
        counts = np.bincount(codes.ravel(), minlength=LEVELS**3) / codes.size
        found.append(0.0 if before is None else float(np.abs(counts - before).sum() / 2))
        before = counts
    return np.array(found)


def cuts_of(distances: Array, fps: float) -> tuple[float, ...]:
    """Return the seconds at which a new scene begins.

    Parameters
    ----------
    distances : ndarray of shape (n_frames,)
        See :func:`colour_distances`.
    fps : float
        Frames per second.

    Examples
    --------
    >>> cuts_of(np.array([0.0, 0.01, 0.02, 0.9, 0.01, 0.0]), fps=2.0)
    (1.5,)
    """
    reach = max(2, round(AROUND * fps))
    cuts: list[float] = []
    for frame in np.argsort(-distances, kind="stable"):
        value = distances[frame]
        if value < LEAST:
            break
        low, high = max(1, frame - reach), min(len(distances), frame + reach + 1)
        around = np.delete(distances[low:high], frame - low)
        level = float(np.median(around)) if len(around) else 0.0
        second = float(frame / fps)
        apart = all(abs(second - cut) >= SHORTEST for cut in cuts)
        if value >= STANDS_OUT * level and apart:
            cuts.append(second)
    return tuple(sorted(cuts))
