"""An area of the virtual cortex that answers motion alone (as MT does), and tuning to motion.

It lies on the lateral side of the same sheet, in front of LO, on voxels that no picture area has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.virtual.anatomy import GRID_SHAPE, Anatomy, cortical_sheets, grid_affine
from phosphene.data.virtual.areas import AREA_NAMES, VERSION
from phosphene.data.virtual.draws import Stream
from phosphene.data.virtual.early_vision import FREQUENCIES, PLACES, receptive_field_weights
from phosphene.data.virtual.movies.motion_energy import DIRECTIONS, N_MOTION
from phosphene.types import VoxelSpace

__all__ = ["MOTION_AREA", "MOTION_SHARES", "MOVIE_AREA_NAMES", "MotionTuning", "with_motion_area"]

Array = np.ndarray[Any, Any]

MOTION_AREA = "MT"
MOVIE_AREA_NAMES = (*AREA_NAMES, MOTION_AREA)
MOTION_SHARES = {
    "V1": 0.25, "V2": 0.20, "V3": 0.35, "hV4": 0.05, "LO": 0.10, "face": 0.05, "place": 0.05,
    "MT": 1.0,
}  # fmt: skip
"""Share of each area's signal variance that is motion energy; the rest is that of still frames."""
LATERAL = np.radians(142)
DEPTH = (2.0, 14.0)  # mm in front of the cap
SIGMA, SIGMA_SLOPE, EXPONENT = 1.0, 0.5, 0.25
DIRECTION_WIDTH = np.radians(45)
SCALES = np.array([0.30, 0.30, 0.25, 0.15])
TYPICAL_MOTION = 0.03  # mean of a channel over moving scenes


@dataclass(frozen=True, eq=False)
class MovieAnatomy:
    """Voxels of the picture areas and of the motion area, in C order of the grid.

    Attributes
    ----------
    anatomy : Anatomy
        All voxels; ``area`` is 8 in the motion area.
    still : (V,) bool
        Which of them are those of the picture experiment, in their order there.
    """

    anatomy: Anatomy
    still: Array

    @property
    def area_names(self) -> Array:
        """Name of each voxel's area (V,)."""
        names: Array = np.array(MOVIE_AREA_NAMES)[self.anatomy.area - 1]
        return names


def with_motion_area(label: str, pictures: Anatomy) -> MovieAnatomy:
    """Return the anatomy of a subject with its motion area.

    Parameters
    ----------
    label : str
    pictures : Anatomy
        Of the same label.
    """
    points, sheets, _ = cortical_sheets(label)
    stream = Stream("virtual-fmri", VERSION, label, "motion area")
    taken = np.zeros(len(points), dtype=bool)
    taken[pictures.space.indices] = True
    side_of = np.full(len(points), -1)
    for sheet in sheets:
        depth = sheet.s - sheet.radius * np.pi / 2
        lateral = (sheet.phi >= LATERAL) | (sheet.phi <= -LATERAL)
        where = sheet.inside & lateral & (depth > DEPTH[0]) & (depth < DEPTH[1]) & ~taken
        side_of[where] = sheet.side
    own = np.flatnonzero(side_of >= 0)
    n, sides = len(own), side_of[own]
    contralateral = np.where(sides == 0, 1.0, -1.0)
    x = 1.6 * (stream.normal(n) + 0.9 * contralateral)
    y = 1.6 * stream.normal(n)
    sigma = (SIGMA + SIGMA_SLOPE * np.hypot(x, y)) * np.exp(0.15 * stream.normal(n))
    exponent = EXPONENT * np.exp(0.1 * stream.normal(n))
    indices = np.concatenate([pictures.space.indices, own])
    order = np.argsort(indices)

    def joined(old: Array, new: Array) -> Array:
        both: Array = np.concatenate([old, new])[order]
        return both

    anatomy = Anatomy(
        VoxelSpace(GRID_SHAPE, indices[order], grid_affine()),
        joined(pictures.positions, points[own]),
        joined(pictures.area, np.full(n, len(MOVIE_AREA_NAMES))),
        joined(pictures.hemisphere, sides),
        joined(pictures.rf_x, x),
        joined(pictures.rf_y, y),
        joined(pictures.rf_sigma, sigma),
        joined(pictures.exponent, exponent),
    )
    still = joined(np.ones(len(pictures.area), bool), np.zeros(n, bool))
    return MovieAnatomy(anatomy, still)


class MotionTuning:
    """Pooling of motion channels by the voxels of one subject.

    A voxel prefers a direction (von Mises-like, more sharply in the motion area), weighs scales,
    sums over its receptive field and compresses the sum as it does that of still channels.

    Parameters
    ----------
    label : str
    movie : MovieAnatomy
    """

    def __init__(self, label: str, movie: MovieAnatomy) -> None:
        stream = Stream("virtual-fmri", VERSION, label, "motion tuning")
        anatomy = movie.anatomy
        n = anatomy.n_voxels
        best = 2 * np.pi * stream.uniform(n)
        towards = np.stack([np.cos(best), np.sin(best)])
        sharp = np.where(anatomy.area == len(MOVIE_AREA_NAMES), 1.0, 0.3)
        cosine = np.clip(DIRECTIONS @ towards, -1, 1)
        tuned = np.exp(-0.5 * (np.arccos(cosine) / DIRECTION_WIDTH) ** 2)
        direction = 1 - sharp + sharp * tuned / tuned.mean(axis=0)
        scale = SCALES[:, None] * np.exp(0.4 * stream.normal(len(FREQUENCIES), n))
        scale = scale / scale.sum(axis=0)
        weights = scale[:, None] * direction[None] / len(DIRECTIONS) / TYPICAL_MOTION
        self.weights = weights.reshape(N_MOTION, n).astype(np.float32)
        self.exponent = anatomy.exponent.astype(np.float32)
        self.receptive_fields = receptive_field_weights(
            anatomy.rf_x, anatomy.rf_y, anatomy.rf_sigma
        )

    def drive(self, channels: Array) -> Array:
        """Return the compressed drive of every voxel (n, V) float32.

        Parameters
        ----------
        channels : (n, 4, 8, 32, 32)
            From :func:`motion_channels`.
        """
        n = len(channels)
        maps = channels.reshape(n, N_MOTION, PLACES * PLACES)
        pooled = maps @ self.receptive_fields
        summed = np.einsum("ncv,cv->nv", pooled, self.weights)
        # A floor keeps the slope finite where nothing moves.
        drive: Array = (summed + np.float32(0.02)) ** self.exponent
        return drive
