"""From volumes of visual cortex to bars: receptive fields, noise, and a prior over movement.

Everything is estimated in the training block. What is not known of a voxel's field counts as its
noise, and what is not known of the blood's delay is averaged over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.encoders.brain.blood_response import (
    ResponsePosterior,
    blood_response,
    weigh_responses,
)
from phosphene.encoders.brain.receptive_fields import (
    ReceptiveFieldGrid,
    ReceptiveFields,
    stretches,
)
from phosphene.encoders.brain.voxel_noise import VoxelNoise
from phosphene.priors.bars import BarFrames, BarGeometry, measure_bars
from phosphene.priors.independent_frames import decode_independent
from phosphene.priors.motion import decode_sweeps

__all__ = ["BarDecoder", "Decoded"]

Array = np.ndarray[Any, Any]

MOST = 800  # voxels that are read
FIRST_PEAK = 4.0  # seconds; of the response with which voxels are chosen
COARSE = 4  # every so manieth position is enough where nothing moves
ENERGY = 0.999  # of what bars do to voxels that has to be kept
DIRECTIONS = 48
SUMS = 256


@dataclass(frozen=True, eq=False)
class Decoded:
    """Frames of successive volumes.

    Attributes
    ----------
    moving, independent : (n, n_pixels) float64
        With the motion prior and without it.
    moving_shown, independent_shown : (n,) float64
        How surely a bar is on the screen.
    """

    moving: Array
    independent: Array
    moving_shown: Array
    independent_shown: Array

    def rows(self, chosen: Array) -> Decoded:
        """Return some of the volumes."""
        parts = (self.moving, self.independent, self.moving_shown, self.independent_shown)
        return Decoded(*(part[chosen] for part in parts))


@dataclass(frozen=True, eq=False)
class BarDecoder:
    """Receptive fields, noise and geometry of one training block.

    Attributes
    ----------
    voxels : (n_kept,) int
        Columns that are read.
    baseline : (n_kept,) float64
    responses : ResponsePosterior
    noise : VoxelNoise
    geometry : BarGeometry
    bars : BarFrames
    basis : (n_kept, k) float64
        Orthonormal directions of whitened voxels in which bars show.
    kernels : list of (n_lags + 1, n_frames, k) float32
        For each response: what a bar frame leaves in a whitened volume so many rows later.
    """

    voxels: Array
    baseline: Array
    responses: ResponsePosterior
    noise: VoxelNoise
    geometry: BarGeometry
    bars: BarFrames
    basis: Array
    kernels: list[Array]

    @classmethod
    def fit(cls, bold: Array, frames: Array, rows: Array, pixels: Array, tr: float) -> BarDecoder:
        """Estimate everything from training volumes.

        Parameters
        ----------
        bold : ndarray of shape (n, n_voxels)
        frames : ndarray of shape (n, n_pixels)
            0 to 1, without the fixation mark.
        rows : ndarray of shape (n,)
            Numbers of the volumes, increasing.
        pixels : ndarray of shape (n_pixels, 2)
            Degrees.
        tr : float
            Seconds.
        """
        geometry = measure_bars(frames, pixels, rows)
        bars = BarFrames.of(geometry, pixels)
        grid = ReceptiveFieldGrid.covering(pixels)
        seen, drawn = grid.drive(frames), grid.drive(bars.frames)
        first = ReceptiveFields(grid, blood_response(tr, FIRST_PEAK))
        first.fit(bold, seen, rows, most=MOST)
        target = bold[:, first.voxels_]
        noise = VoxelNoise().fit(target - first.predict(seen, rows), stretches(rows))
        first.correlation = noise.correlation_
        posterior = weigh_responses(first, bold, seen, rows, tr, noise.independent_)
        mean = np.zeros(target.shape)
        spread, baseline = np.zeros(len(first.voxels_)), np.zeros(len(first.voxels_))
        lagged = []
        for response, chance in zip(posterior.responses, posterior.probability, strict=True):
            fields = ReceptiveFields(grid, response, correlation=noise.correlation_)
            fields.fit(bold, seen, rows, voxels=first.voxels_, population=first.population_)
            mean += chance * fields.predict(seen, rows)
            spread = spread + chance * fields.spread_
            baseline = baseline + chance * fields.baseline_
            lagged.append(fields.kernel(drawn))
        noise = VoxelNoise().fit(target - mean, stretches(rows), unknown=spread)
        whitened = [noise.whiten(part).astype(np.float32) for part in lagged]
        basis = _directions(np.concatenate([part[:, ::COARSE] for part in whitened]))
        kernels = [_innovations(part @ basis, noise.correlation_) for part in whitened]
        return cls(first.voxels_, baseline, posterior, noise, geometry, bars, basis, kernels)

    def observe(self, bold: Array) -> Array:
        """Return successive volumes (n, n_voxels) in units of noise (n - 1, k).

        The first volume only tells what of the second is new.
        """
        whitened = self.noise.whiten(bold[:, self.voxels] - self.baseline) @ self.basis
        return self.noise.innovations(whitened, [np.arange(len(whitened))])[1:]

    def decode(self, bold: Array) -> Decoded:
        """Return the frames of successive volumes; the first one's is that of the second."""
        observed = self.observe(bold)
        moving, shown = self.decode_moving(bold)
        coarse = self.bars.frames[::COARSE]
        weights = np.zeros((len(observed), len(coarse)))
        for kernel, chance in zip(self.kernels, self.responses.probability, strict=True):
            part = decode_independent(observed, kernel[:, ::COARSE], self.geometry.shown)
            weights += chance * part
        weights = weights[np.r_[0, np.arange(len(observed))]]
        return Decoded(moving, np.clip(weights @ coarse, 0, 1), shown, weights.sum(axis=1))

    def decode_moving(self, bold: Array) -> tuple[Array, Array]:
        """Return mean frames (n, n_pixels) with the motion prior, and probability of a bar (n,).

        A delay of the blood counts by its probability in training; what these volumes say of it
        is left aside.
        """
        observed = self.observe(bold)
        places = np.zeros((len(observed), len(self.bars.frames)))
        for kernel, chance in zip(self.kernels, self.responses.probability, strict=True):
            places += chance * decode_sweeps(observed, kernel, self.bars).frames
        places = places[np.r_[0, np.arange(len(observed))]]
        return places @ self.bars.frames, places.sum(axis=1)


def _directions(responses: Array) -> Array:
    """Return directions (n_kept, k) that hold nearly all of responses (..., n_kept)."""
    flat = responses.reshape(-1, responses.shape[-1])
    # Successive lags and places are alike: a few random sums of them span nearly the same.
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (SUMS, len(flat))).astype(np.float32)
    sums = flat if len(flat) <= SUMS else signs @ flat
    _, sizes, directions = np.linalg.svd(sums, full_matrices=False)
    share = np.cumsum(sizes**2) / (sizes**2).sum()
    kept = min(DIRECTIONS, int(np.searchsorted(share, ENERGY)) + 1)
    return np.ascontiguousarray(directions[:kept].T)


def _innovations(kernel: Array, correlation: float) -> Array:
    """Return what is new in each volume of a kernel (n_lags, ...): one lag more."""
    padded = np.concatenate([kernel, np.zeros_like(kernel[:1])])
    padded[1:] -= correlation * kernel
    scaled: Array = padded / np.sqrt(1 - correlation**2)
    return scaled.astype(np.float32)
