"""Bars on a screen: their width and speed as training frames show them, and frames of any bar.

What is learned is the stimulus' geometry alone: how wide bars are, how fast they move, how far
they reach. Where they were, in which order and when is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["ORIENTATIONS", "BarFrames", "BarGeometry", "measure_bars"]

Array = np.ndarray[Any, Any]

ORIENTATIONS = 4
"""Normals at 0, 45, 90 and 135 degrees: with both signs, eight directions of motion."""
MEASURED = 12  # orientations that are compared when a bar is measured
STEPS_PER_VOLUME = 4  # positions of a bar of typical speed from one volume to the next
EMPTY = 0.01  # share of lit pixels up to which a frame holds nothing but a fixation mark


@dataclass(frozen=True, eq=False)
class BarGeometry:
    """What all bars of a recording have in common.

    Attributes
    ----------
    width : float
        Degrees.
    speed : float
        Degrees per volume.
    aperture : (n_pixels,) bool
        Pixels that bars can light.
    shown : float
        Share of frames that hold a bar.
    """

    width: float
    speed: float
    aperture: Array
    shown: float


def measure_bars(frames: Array, pixels: Array, rows: Array) -> BarGeometry:
    """Measure the bars of training frames.

    Parameters
    ----------
    frames : ndarray of shape (n, n_pixels)
        0 to 1, without the fixation mark.
    pixels : ndarray of shape (n_pixels, 2)
        Degrees.
    rows : ndarray of shape (n,)
        Number of each frame; only successive ones tell a speed.

    Raises
    ------
    InputError
        If no bar is seen in two successive frames.
    """
    lit = np.asarray(frames) > 0.5
    bars = np.flatnonzero(lit.mean(axis=1) > EMPTY)
    angles = np.arange(MEASURED) * np.pi / MEASURED
    along = pixels @ np.stack([np.cos(angles), np.sin(angles)])  # (n_pixels, MEASURED)
    centre, width = np.zeros(len(lit)), np.zeros(len(lit))
    normal = np.full(len(lit), -1)
    for frame in bars:
        places = along[lit[frame]]
        normal[frame] = int(np.argmin(places.std(axis=0)))
        place = places[:, normal[frame]]
        centre[frame], width[frame] = place.mean(), place.std() * np.sqrt(12)
    next_to = bars[:-1][(np.diff(rows[bars]) == 1) & (np.diff(bars) == 1)]
    alike = next_to[normal[next_to] == normal[next_to + 1]]
    steps = np.abs(centre[alike + 1] - centre[alike])
    steps = steps[steps > 0]
    if not len(steps):
        raise InputError(
            f"{len(bars)} of {len(lit)} training frames show a bar, none of them moving",
            expected="bars in successive training frames",
            remedy="train on a stretch in which bars move",
        )
    return BarGeometry(
        width=float(np.median(width[bars])),
        speed=float(np.median(steps)),
        aperture=_aperture(np.asarray(lit[bars].any(axis=0)), pixels),
        shown=len(bars) / len(lit),
    )


def _aperture(lit: Array, pixels: Array) -> Array:
    """Return the pixels no farther out than any lit one, counting both sides of the middle."""
    offset = np.abs(pixels - (pixels.min(axis=0) + pixels.max(axis=0)) / 2)
    far = np.hypot(*offset.T)
    inside: Array = (offset <= offset[lit].max(axis=0) + 1e-6).all(axis=1)
    return np.asarray(inside & (far <= far[lit].max() + 1e-6))


@dataclass(frozen=True, eq=False)
class BarFrames:
    """Every position of a bar that crosses the screen, for each orientation.

    Attributes
    ----------
    frames : (n_frames, n_pixels) float32
        0 to 1; orientations one after the other, positions evenly spaced from where the bar just
        does not show yet to where it does not show any more.
    first : (ORIENTATIONS + 1,) int
        Where each orientation's positions begin.
    """

    frames: Array
    first: Array

    @classmethod
    def of(cls, geometry: BarGeometry, pixels: Array) -> BarFrames:
        """Draw the bars of a geometry, edges softened over one pixel."""
        step = geometry.speed / STEPS_PER_VOLUME
        edge = float(np.median(np.diff(np.unique(np.round(pixels[:, 0], 6)))))
        drawn, first = [], [0]
        for number in range(ORIENTATIONS):
            angle = number * np.pi / ORIENTATIONS
            place = pixels @ np.array([np.cos(angle), np.sin(angle)])
            inside = place[geometry.aperture]
            low, high = inside.min() - geometry.width / 2, inside.max() + geometry.width / 2
            n = int(np.ceil((high - low) / step)) + 1
            middle = (low + high) / 2 + (np.arange(n) - (n - 1) / 2) * step
            distance = np.abs(place[None] - middle[:, None])
            cover = np.clip((geometry.width / 2 - distance) / edge + 0.5, 0, 1)
            drawn.append((cover * geometry.aperture).astype(np.float32))
            first.append(first[-1] + n)
        return cls(np.concatenate(drawn), np.array(first))
