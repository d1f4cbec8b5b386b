"""Receptive fields of voxels, each a distribution over a grid instead of a best fit.

A voxel answers the part of a frame that falls into its Gaussian receptive field, through a blood
response (Dumoulin and Wandell 2008). Centre and size are not fitted by descent: every combination
on a grid is one regressor, its amplitude (not below 0) and the noise of the voxel are integrated
out in closed form (a Gaussian prior on the amplitude in units of the noise, Jeffreys' prior on the
noise), and what is left is the evidence of that combination. Predictions are means over all of
them. A field that training says nothing about (up and down where only vertical bars were shown)
therefore stays spread out, and a voxel that follows no field predicts nothing.

How large amplitudes are, how common each size is, how much of cortex belongs to the fovea and how
many voxels have no field are found from all voxels together (empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["Population", "ReceptiveFieldGrid", "ReceptiveFields", "stretches"]

Array = np.ndarray[Any, Any]

SCALES = (10.0, 50.0, 250.0)  # variance of amplitudes over that of noise
FOVEAE = (0.3, 0.75, 2.0)  # degrees: cortex per square degree falls as 1 / (E + this) ** 2
BEFORE = 1.0  # variance of what may have been shown before a stretch, over that of noise
ITERATIONS = 40
BLOCK = 256  # voxels at a time
SAMPLE = 400  # voxels that the population is learned from
IMPOSSIBLE = -1e4


def stretches(rows: Array) -> list[Array]:
    """Return positions within ``rows`` of every stretch of successive volumes."""
    rows = np.asarray(rows)
    return np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)


@dataclass(frozen=True, eq=False)
class ReceptiveFieldGrid:
    """Candidates for a receptive field.

    Attributes
    ----------
    centre : (n_cells, 2) float
        Degrees to the right and up.
    size : (n_cells,) int
        Which of ``sizes`` it has.
    sizes : (n_sizes,) float
        Standard deviations in degrees.
    weights : (n_pixels, n_cells) float32
        Share of the field's volume in each pixel: a frame of ones gives at most 1.
    """

    centre: Array
    size: Array
    sizes: Array
    weights: Array

    @classmethod
    def covering(
        cls, pixels: Array, *, steps: int = 18, margin: float = 1.2, n_sizes: int = 5
    ) -> ReceptiveFieldGrid:
        """Return fields on and somewhat beyond a screen.

        Parameters
        ----------
        pixels : ndarray of shape (n_pixels, 2)
            Degrees of each pixel, evenly spaced.
        steps : int
            Centres from the middle to the nearer pair of edges times the aspect: the distance
            between centres is half the longer side over ``steps``.
        margin : float
            How far centres reach, in halves of the screen.
        n_sizes : int
            From .9 to 8 steps, in equal ratios.
        """
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        middle, half = (low + high) / 2, (high - low) / 2
        step = half.max() / steps
        axes = [
            middle[a] + step * np.arange(-np.ceil(n := margin * half[a] / step), np.ceil(n) + 1)
            for a in (0, 1)
        ]
        sizes = step * np.geomspace(0.9, 8, n_sizes)
        x, y, size = np.meshgrid(*axes, np.arange(n_sizes), indexing="ij")
        centre = np.c_[x.ravel(), y.ravel()]
        area = np.prod([_spacing(pixels[:, a]) for a in (0, 1)])
        sd = sizes[size.ravel()]
        squared = sum((pixels[:, a, None] - centre[None, :, a]) ** 2 for a in (0, 1))
        weights = area / (2 * np.pi * sd**2) * np.exp(-0.5 * squared / sd**2)
        return cls(centre, size.ravel(), sizes, weights.astype(np.float32))

    def drive(self, frames: Array) -> Array:
        """Return what every field gets of frames (n, n_pixels): (n, n_cells), 0 to 1."""
        seen: Array = np.asarray(frames, dtype=np.float32) @ self.weights
        return seen


def _spacing(values: Array) -> float:
    distinct = np.unique(np.round(values, 6))
    if len(distinct) < 2:
        raise InputError("pixels that all lie on one line", expected="a screen of two dimensions")
    return float(np.median(np.diff(distinct)))


@dataclass(frozen=True, eq=False)
class Population:
    """What receptive fields of one recording have in common.

    Attributes
    ----------
    share : float
        Of voxels with a field.
    sizes : (n_sizes,) float
        How common each size is.
    fovea : float
        Degrees; see ``FOVEAE``.
    scale : float
        Variance of amplitudes over that of noise.
    """

    share: float
    sizes: Array
    fovea: float
    scale: float

    def log_prior(self, grid: ReceptiveFieldGrid) -> Array:
        """Return log probability of each cell (n_cells,)."""
        return np.asarray(_centre_prior(grid, self.fovea) + np.log(self.sizes)[grid.size])


class ReceptiveFields:
    """Distribution over receptive fields of every voxel, from one training block.

    Parameters
    ----------
    grid : ReceptiveFieldGrid
    response : ndarray of shape (n_lags,)
        Of the blood to a frame, sum 1; see :mod:`phosphene.encoders.brain.blood_response`.
    correlation : float
        Of the noise from one volume to the next.

    Attributes
    ----------
    voxels_ : (n_kept,) int
        Columns of the training data that were fitted.
    weights_ : (n_cells, n_kept) float32
        Probability times mean amplitude; what predictions need.
    baseline_ : (n_kept,) float
    spread_ : (n_kept,) float
        Variance of predictions of training volumes that is left by not knowing the field.
    log_odds_ : (n_kept,) float
        For a field against none.
    population_ : Population
    """

    def __init__(
        self, grid: ReceptiveFieldGrid, response: Array, *, correlation: float = 0.5
    ) -> None:
        self.grid, self.response = grid, np.asarray(response, dtype=np.float64)
        self.correlation = correlation

    def fit(
        self,
        bold: Array,
        seen: Array,
        rows: Array,
        *,
        voxels: Array | None = None,
        population: Population | None = None,
        most: int | None = None,
    ) -> ReceptiveFields:
        """Learn from volumes and the frames that were shown during them.

        Parameters
        ----------
        bold : ndarray of shape (n, n_voxels)
        seen : ndarray of shape (n, n_cells)
            :meth:`ReceptiveFieldGrid.drive` of the frames.
        rows : ndarray of shape (n,)
            Number of each volume, increasing. Nothing was shown before volume 0; what was shown
            before another stretch of successive volumes is not known and counts as noise.
        voxels : ndarray of int, optional
            Fit these.
        population : Population, optional
            What is known of the fields already.
        most : int, optional
            Keep so many voxels, those with the strongest evidence, and only ones that more likely
            than not have a field.
        """
        chosen = np.flatnonzero(bold.std(axis=0) > 0) if voxels is None else np.asarray(voxels)
        target = np.asarray(bold[:, chosen], dtype=np.float64)
        driven, evidence = self._evidence(target, seen, np.asarray(rows))
        self.population_ = evidence.learn() if population is None else population
        odds = evidence.log_odds(self.population_)
        keep = np.arange(len(chosen))
        if most is not None:
            strongest = np.argsort(-odds, kind="stable")[:most]
            keep = np.sort(strongest[odds[strongest] > 0])
        if not len(keep):
            raise InputError(
                f"none of {len(chosen)} voxels follows what was shown in training",
                expected="visual voxels, and frames in the order of volumes",
                remedy="check that frames and volumes are of the same run",
            )
        self.voxels_, self.log_odds_ = chosen[keep], odds[keep]
        self.weights_, self.spread_ = evidence.weights(keep, self.population_)
        self.baseline_ = np.zeros(len(keep))
        self.baseline_ = (target[:, keep] - driven @ self.weights_).mean(axis=0)
        return self

    def log_evidence(
        self, bold: Array, seen: Array, rows: Array, populations: Sequence[Population]
    ) -> list[float]:
        """Return the log evidence of all voxels together, against none having a field.

        Parameters
        ----------
        bold, seen, rows
            See :meth:`fit`.
        populations : sequence of Population
            One number for each.
        """
        _, evidence = self._evidence(np.asarray(bold, dtype=np.float64), seen, np.asarray(rows))
        return [float(np.logaddexp(evidence.log_odds(one), 0.0).sum()) for one in populations]

    def kernel(self, seen: Array) -> Array:
        """Return what frames do to the voxels, lag by lag (n_lags, n, n_kept)."""
        each = seen @ self.weights_
        return np.asarray(self.response.astype(np.float32)[:, None, None] * each)

    def predict(self, seen: Array, rows: Array) -> Array:
        """Return the volumes (n, n_kept) of frames shown in succession, stretch by stretch."""
        return np.asarray(self._driven(seen, np.asarray(rows)) @ self.weights_ + self.baseline_)

    def _evidence(self, target: Array, seen: Array, rows: Array) -> tuple[Array, _Evidence]:
        driven = self._driven(seen, rows)
        return driven, _Evidence(driven, target, self._whitener(rows), self.grid)

    def _driven(self, seen: Array, rows: Array) -> Array:
        """Return what each cell sends to each volume (n, n_cells)."""
        out = np.zeros(seen.shape)
        for piece in stretches(rows):
            out[piece] = _convolve(seen[piece], self.response)
        return out

    def _whitener(self, rows: Array) -> Array:
        """Return the matrix (n, n) that makes the noise of volumes white, constants removed."""
        covariance = self.correlation ** np.abs(rows[:, None] - rows).astype(np.float64)
        padded = np.pad(self.response, (0, len(self.response)))
        for piece in stretches(rows):
            if rows[piece[0]] > 0:
                length = min(len(piece), len(self.response))
                # Column k: what a frame k + 1 volumes before the stretch leaves in it.
                tails = np.stack(
                    [padded[k + 1 : k + 1 + length] for k in range(len(self.response))], axis=1
                )
                first = piece[:length]
                covariance[np.ix_(first, first)] += BEFORE * tails @ tails.T
        root = np.linalg.inv(np.linalg.cholesky(covariance))
        constant = root.sum(axis=1)
        constant /= np.linalg.norm(constant)
        return np.asarray(root - np.outer(constant, constant @ root))


def _convolve(series: Array, response: Array) -> Array:
    """Return the response to a series (n, k) that begins with its first row."""
    out = np.zeros_like(series, dtype=np.float64)
    for lag, size in enumerate(response[: len(series)]):
        out[lag:] += size * series[: len(series) - lag]
    return out


class _Evidence:
    """Evidence of every cell for every voxel, never all in memory at once."""

    def __init__(
        self, driven: Array, target: Array, whitener: Array, grid: ReceptiveFieldGrid
    ) -> None:
        if len(target) < 8:
            raise InputError(
                f"{len(target)} training volumes", "at least 8", "train on more volumes"
            )
        self.freedom, self.grid, self.driven = len(target) - 1, grid, driven.astype(np.float32)
        x, y = (whitener @ driven).astype(np.float32), (whitener @ target).astype(np.float32)
        self.energy = (x**2).sum(axis=0).astype(np.float64)[:, None]
        self.x = x / np.sqrt(np.maximum(self.energy.T, 1e-12)).astype(np.float32)
        self.norm = np.sqrt(np.maximum((y**2).sum(axis=0), 1e-30))
        self.y = y / self.norm

    def log_factor(self, correlation: Array, scale: float) -> Array:
        """Return log Bayes factors against no field, of correlations (n_cells, v)."""
        gain = (scale * self.energy).astype(np.float32)
        explained = gain / (1 + gain) * correlation**2
        factor = -0.5 * np.log1p(gain) - self.freedom / 2 * np.log1p(
            -np.minimum(explained, 1 - 1e-6)
        )
        return np.where(correlation > 0, factor + np.float32(np.log(2)), IMPOSSIBLE)

    def learn(self) -> Population:
        """Choose the size of amplitudes, the fovea, and how common sizes and fields are."""
        n = self.y.shape[1]
        sample = np.arange(0, n, max(1, n // SAMPLE))[:SAMPLE]
        correlation = self.x.T @ self.y[:, sample]
        best: tuple[float, Population] | None = None
        for scale in SCALES:
            factor = self.log_factor(correlation, scale)
            for fovea in FOVEAE:
                weighed = factor + _centre_prior(self.grid, fovea).astype(np.float32)[:, None]
                table = np.stack(
                    [
                        _log_sum(weighed[self.grid.size == size], axis=0)
                        for size in range(len(self.grid.sizes))
                    ],
                    axis=1,
                )
                total, share, sizes = _expectation_maximisation(table.astype(np.float64))
                if best is None or total > best[0]:
                    best = total, Population(share, sizes, fovea, scale)
        assert best is not None  # both lists are constants
        return best[1]

    def log_odds(self, population: Population) -> Array:
        """Return the log odds of a field (n_voxels,)."""
        prior = population.log_prior(self.grid).astype(np.float32)[:, None]
        found = [
            _log_sum(self.log_factor(self.x.T @ block, population.scale) + prior, axis=0)
            for block in self._blocks(np.arange(self.y.shape[1]))
        ]
        share = np.log(population.share) - np.log1p(-population.share)
        return np.asarray(np.concatenate(found).astype(np.float64) + share)

    def weights(self, keep: Array, population: Population) -> tuple[Array, Array]:
        """Return probability times mean amplitude (n_cells, n_kept), and what stays unknown."""
        prior = population.log_prior(self.grid).astype(np.float32)[:, None]
        share = np.log(population.share) - np.log1p(-population.share)
        gain = population.scale * self.energy
        per_unit = (gain / (1 + gain) / np.sqrt(np.maximum(self.energy, 1e-12))).astype(np.float32)
        weights, spread = [], []
        for start, block in zip(range(0, len(keep), BLOCK), self._blocks(keep), strict=True):
            correlation = self.x.T @ block
            log = self.log_factor(correlation, population.scale) + prior
            total = _log_sum(log, axis=0)
            has_field = 1 / (1 + np.exp(-np.clip(total + share, -50, 50)))
            probability = np.exp(log - total) * has_field
            amplitude = correlation * per_unit * self.norm[keep[start : start + BLOCK]]
            mean = probability * amplitude
            square = self.driven**2 @ (mean * amplitude)
            spread.append((square - (self.driven @ mean) ** 2).mean(axis=0))
            weights.append(mean)
        return np.concatenate(weights, axis=1), np.maximum(np.concatenate(spread), 0)

    def _blocks(self, voxels: Array) -> list[Array]:
        return [self.y[:, voxels[start : start + BLOCK]] for start in range(0, len(voxels), BLOCK)]


def _centre_prior(grid: ReceptiveFieldGrid, fovea: float) -> Array:
    """Return log probability of a cell among those of its size, by cortical magnification."""
    density = -2 * np.log(np.hypot(*grid.centre.T) + fovea)
    one = density[grid.size == 0]
    return np.asarray(density - _log_sum(one, axis=0))


def _expectation_maximisation(table: Array) -> tuple[float, float, Array]:
    """Return log evidence of all voxels, share with a field, and how common sizes are."""
    n_sizes = table.shape[1]
    share, sizes, evidence = 0.5, np.full(n_sizes, 1 / n_sizes), -np.inf
    for _ in range(ITERATIONS):
        log = np.log(share) + np.log(sizes) + table
        total = np.logaddexp(_log_sum(log, axis=1), np.log1p(-share))
        evidence = float(total.sum())
        counts = np.exp(log - total[:, None]).sum(axis=0)
        # One voxel of each kind is added, so that nothing becomes impossible.
        sizes = (counts + 1) / (counts.sum() + n_sizes)
        share = float((counts.sum() + 1) / (len(table) + 2))
    return evidence, share, sizes


def _log_sum(values: Array, axis: int) -> Array:
    highest = values.max(axis=axis, keepdims=True)
    total: Array = np.log(np.exp(values - highest).sum(axis=axis)) + highest.squeeze(axis)
    return total
