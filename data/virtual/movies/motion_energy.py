"""Opponent motion energy: what moves, where, in which direction and how fast.

A quadrature pair's phase turns by ``2 pi f v t`` while a pattern of f cycles per degree moves by
v t degrees along it, so ``Im(z_t conj(z_{t-1}))`` is the difference of the motion energies in both
directions (Adelson and Bergen 1985, *Journal of the Optical Society of America A* 2), under the
divisive normalisation of the static channels. The half-waves are the channels of two directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.data.virtual.early_vision import (
    FREQUENCIES,
    ORIENTATIONS,
    PLACES,
    SIZE,
    analytic_responses,
    energy_nearby,
    lightness_of,
)
from phosphene.errors import InputError

__all__ = ["DIRECTIONS", "N_MOTION", "motion_channels"]

Array = np.ndarray[Any, Any]

# The wave of a filter runs perpendicular to its bars: to the left and up the page at 0.
_ALONG = np.stack([np.sin(ORIENTATIONS), np.cos(ORIENTATIONS)], axis=1) * -1.0  # right, down
DIRECTIONS = np.concatenate([_ALONG, -_ALONG])
"""Unit vectors (8, 2), right and down, of the directions of motion."""
N_MOTION = len(FREQUENCIES) * len(DIRECTIONS)


def motion_channels(now: Array, before: Array) -> Array:
    """Return the channels of pairs of frames (n, 4, 8, 32, 32) float32: scales x directions.

    Parameters
    ----------
    now, before : (n, 64, 64, 3) uint8
        A frame and the one before it; the same one where there is none, which moves nowhere.

    Raises
    ------
    InputError
        If the frames have another shape or type.
    """
    expected = (len(now), SIZE, SIZE, 3)
    for frames in (now, before):
        if frames.shape != expected or frames.dtype != np.uint8:
            raise InputError(
                f"frames of shape {frames.shape} and type {frames.dtype}",
                expected=f"{expected} uint8 for both",
                remedy="resize them and save them as 8-bit RGB",
            )
    answers = [
        analytic_responses(lightness_of(frames.astype(np.float32) / 255))
        for frames in (now, before)
    ]
    energy = [4 * (one.real**2 + one.imag**2) for one in answers]
    nearby = (energy_nearby(energy[0]) + energy_nearby(energy[1])) / 2
    # A wave e^{i(kx - wt)} that runs along k turns back in phase at a fixed place.
    opponent = -4 * (answers[0] * answers[1].conj()).imag / nearby
    shape = (len(now), len(FREQUENCIES), len(ORIENTATIONS), PLACES, PLACES)
    along = opponent.reshape(shape)
    channels: Array = np.concatenate([np.maximum(along, 0), np.maximum(-along, 0)], axis=2)
    return channels.astype(np.float32)
