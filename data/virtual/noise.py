"""Structured noise of the time series and of the betas estimated from them.

Private, spatially smooth, physiological and motion noise are AR(1) series of every volume that
pass through the map from volumes to betas. Noise of the brain's state lies inside the signal's
own subspace: attention changes the response itself, trial by trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from phosphene.data.virtual.anatomy import Anatomy, distances, smoothing_kernel
from phosphene.data.virtual.areas import VERSION, Preset
from phosphene.data.virtual.draws import Stream
from phosphene.data.virtual.haemodynamics import TRIALS_PER_RUN, RunModel, run_model

__all__ = ["Component", "NoiseModel", "build_noise", "plan_noise"]

Array = np.ndarray[Any, Any]

STATE_SHARE = 0.2  # of the noise variance, mean over voxels
STATE_CORRELATION = 0.4  # from trial to trial
LARGEST_STATE_SHARE = 0.75
SPATIAL_WIDTH = 6.0  # mm, FWHM
CLUSTER = 8.0  # mm, FWHM of patches of cortex with like signal-to-noise and response
N_PHYSIOLOGICAL, N_MOTION = 10, 6
# Share of what the state leaves, and AR(1) per volume.
PARTS = {
    "private": (0.45, 0.3),
    "spatial": (0.25, 0.4),
    "physiological": (0.20, 0.5),
    "motion": (0.10, 0.5),
}


@dataclass(frozen=True, eq=False)
class Component:
    """One kind of noise in the time series.

    Attributes
    ----------
    loadings : (n_factors, V) or None
        Unit norm over factors for each voxel; None is noise of every voxel by itself.
    correlation : float
        AR(1) coefficient from volume to volume.
    share : (V,)
        Part of the voxel's noise variance in the betas.
    """

    loadings: Array | None
    correlation: float
    share: Array


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Noise of one subject in one scanner.

    Attributes
    ----------
    sd : (V,)
        Of the noise of a single-trial beta.
    hrf : (V,) int
        Which response of the library each voxel has.
    components : tuple of Component
    state_loadings : (n_directions, V)
        In the units of the betas.
    tr : float
    """

    sd: Array
    hrf: Array
    components: tuple[Component, ...]
    state_loadings: Array
    tr: float

    @cached_property
    def _scales(self) -> list[Array]:
        """SD of each component in the time series (V,) that gives its share in the betas.

        The scale belongs to LSA of a full run; another estimator sees the same time series.
        """
        model, scales = run_model(self.tr, TRIALS_PER_RUN), []
        for part in self.components:
            gain = np.diag(model.error_table(part.correlation))[self.hrf]
            scales.append((self.sd * np.sqrt(part.share / gain)).astype(np.float32))
        return scales

    def sample_series(self, n_volumes: int, generator: np.random.Generator) -> Array:
        """Return the noise of one run (n_volumes, V) float32, without the brain's state."""
        series = np.zeros((n_volumes, len(self.sd)), dtype=np.float32)
        for part, scale in zip(self.components, self._scales, strict=True):
            width = len(self.sd) if part.loadings is None else len(part.loadings)
            factors = _autoregressive(n_volumes, width, part.correlation, generator)
            series += scale * (factors if part.loadings is None else factors @ part.loadings)
        return series

    def sample_errors(self, model: RunModel, generator: np.random.Generator) -> Array:
        """Return the errors of one run's betas (n_trials, V) float32."""
        series = self.sample_series(model.n_volumes, generator)
        errors = np.empty((len(model.onsets), len(self.sd)), dtype=np.float32)
        for hrf in np.unique(self.hrf):
            voxels = np.flatnonzero(self.hrf == hrf)
            errors[:, voxels] = model.estimate[hrf].astype(np.float32) @ series[:, voxels]
        return errors

    def sample_state(self, n_trials: int, generator: np.random.Generator) -> Array:
        """Return what the brain's state adds to the responses of a run (n_trials, V) float32."""
        factors = _autoregressive(n_trials, len(self.state_loadings), STATE_CORRELATION, generator)
        state: Array = factors @ self.state_loadings
        return state

    def covariance(self, estimator: str = "lsa") -> Array:
        """Return the noise covariance of single-trial betas (V, V) float64, mean over a run.

        Crosstalk between trials, which LSS has, is not part of it. That of LSA is kept in
        memory, read-only, after the first call.
        """
        return self._lsa_covariance if estimator == "lsa" else self._covariance(estimator)

    @cached_property
    def _lsa_covariance(self) -> Array:
        covariance = self._covariance("lsa")
        covariance.flags.writeable = False
        return covariance

    def _covariance(self, estimator: str) -> Array:
        model = run_model(self.tr, TRIALS_PER_RUN, estimator)
        total = self.state_loadings.T.astype(np.float64) @ self.state_loadings
        if estimator == "lss":
            total *= _own_state(model, self.hrf)
        for part, scale in zip(self.components, self._scales, strict=True):
            table = model.error_table(part.correlation)
            scale64 = scale.astype(np.float64)
            if part.loadings is None:
                total[np.diag_indices_from(total)] += scale64**2 * np.diag(table)[self.hrf]
                continue
            loaded = part.loadings.astype(np.float64) * scale64
            total += (loaded.T @ loaded) * table[np.ix_(self.hrf, self.hrf)]
        return total


def _own_state(model: RunModel, hrf: Array) -> Array:
    """Return what LSS makes of the covariance of trial-by-trial state, for pairs of voxels."""
    n = len(model.onsets)
    lags = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    mixing = model.estimate @ model.design
    table = np.einsum("hij,jk,gik->hg", mixing, STATE_CORRELATION**lags, mixing, optimize=True) / n
    factors: Array = table[np.ix_(hrf, hrf)]
    return factors


def _autoregressive(
    length: int, width: int, correlation: float, generator: np.random.Generator
) -> Array:
    """Return stationary AR(1) series of unit variance (length, width) float32."""
    series = generator.standard_normal((length, width), dtype=np.float32)
    innovation = np.float32(np.sqrt(1 - correlation**2))
    for step in range(1, length):
        series[step] *= innovation
        series[step] += np.float32(correlation) * series[step - 1]
    return series


def build_noise(
    label: str, anatomy: Anatomy, preset: Preset, amplitude: Array, signal: Array
) -> tuple[NoiseModel, Array]:
    """Return the noise of a subject and the signal-to-noise ratio planned for each voxel (V,).

    Parameters
    ----------
    label : str
    anatomy : Anatomy
    preset : Preset
    amplitude : (V,)
        SD of the signal over scenes, in the units of the betas.
    signal : (n, V)
        Signal of reference scenes, standardised: its directions carry the state.
    """
    ncsnr, hrf = plan_noise(label, anatomy, preset)
    sd = amplitude / ncsnr
    if preset.independent:
        whole = Component(None, PARTS["private"][1], np.ones(anatomy.n_voxels))
        none = np.zeros((0, anatomy.n_voxels), dtype=np.float32)
        return NoiseModel(sd, hrf, (whole,), none, preset.tr), ncsnr
    directions = _signal_directions(signal)
    share = _state_shares(ncsnr**2)
    norm = np.linalg.norm(directions, axis=0)
    state = (directions / norm * sd * np.sqrt(share)).astype(np.float32)
    stream = Stream("virtual-fmri", VERSION, label, "noise factors")
    loadings = {
        "private": None,
        "spatial": _spatial_loadings(anatomy),
        "physiological": _physiological_loadings(anatomy, stream),
        "motion": _motion_loadings(anatomy, stream),
    }
    components = tuple(
        Component(loadings[name], correlation, part * (1 - share))
        for name, (part, correlation) in PARTS.items()
    )
    return NoiseModel(sd, hrf, components, state, preset.tr), ncsnr


def plan_noise(label: str, anatomy: Anatomy, preset: Preset) -> tuple[Array, Array]:
    """Return the signal-to-noise ratio and the number of the response of each voxel (V,).

    What belongs to the head is the same in every scanner.
    """
    stream = Stream("virtual-fmri", VERSION, label, "noise")
    near = smoothing_kernel(anatomy.positions, anatomy.positions, CLUSTER)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return _signal_to_noise(anatomy, preset, near, stream), _responses(near, stream)


def _signal_to_noise(anatomy: Anatomy, preset: Preset, near: Array, stream: Stream) -> Array:
    """Return log-normal ratios: median of the preset, 95th percentile .9 / .42 of it.

    They are smooth over cortex and higher in V1. Ranks take the place of the drawn values, so
    the distribution is exact for every subject.
    """
    from scipy.special import ndtri

    n = anatomy.n_voxels
    # The last one is the motion area, which only subjects that watch movies have.
    bonus = np.array([0.5, 0.3, 0.2, 0.1, 0.0, -0.2, -0.1, 0.2])[anatomy.area - 1]
    value = 0.7 * near @ stream.normal(n) + 0.6 * stream.normal(n) + bonus
    quantile = (np.argsort(np.argsort(value)) + 0.5) / n
    width = np.log(0.9 / 0.42) / ndtri(0.95)
    ratio: Array = preset.ncsnr * np.exp(np.minimum(width * ndtri(quantile), np.log(3)))
    return ratio


def _responses(near: Array, stream: Stream) -> Array:
    """Return the number of each voxel's response: alike nearby, near the middle on average."""
    n = len(near)
    fields = 0.8 * near @ stream.normal(n, 2) + 0.6 * stream.normal(n, 2)
    peak = np.clip(np.round(2 + fields[:, 0]), 0, 4)
    undershoot = np.clip(np.round(1.5 + fields[:, 1]), 0, 3)
    return (4 * peak + undershoot).astype(np.int64)


def _signal_directions(signal: Array) -> Array:
    """Return the principal directions of the signal (n - 1, V), each with its own SD.

    All of them: noise in a few would leave the rest of the signal for a decoder to read freely.
    """
    centred = (signal - signal.mean(axis=0)).astype(np.float64)
    # By the small Gram matrix of the scenes; the last vector is the mean, which is gone.
    _, vectors = np.linalg.eigh(centred @ centred.T)
    directions: Array = vectors[:, :0:-1].T @ centred / np.sqrt(len(signal))
    # The sign of an eigenvector is arbitrary; fix it so that noise is reproducible.
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(len(directions)), largest])[:, None]
    return directions


def _state_shares(relative: Array) -> Array:
    """Return the share of the state (V,) for one common strength, so that the mean is .2."""
    low, high = 0.0, 100.0
    for _ in range(60):
        strength = (low + high) / 2
        share = np.minimum(strength * relative, LARGEST_STATE_SHARE)
        low, high = (strength, high) if share.mean() < STATE_SHARE else (low, strength)
    return share


def _unit(loadings: Array) -> Array:
    unit: Array = loadings / np.linalg.norm(loadings, axis=0, keepdims=True)
    return unit.astype(np.float32)


def _spatial_loadings(anatomy: Anatomy) -> Array:
    """Return bumps on a grid of nodes 4 mm apart along the sheet: smooth noise from few series."""
    positions = anatomy.positions
    nodes = np.unique(np.round(positions / 4) * 4, axis=0)
    nodes = nodes[distances(nodes, positions).min(axis=1) < 3]
    return _unit(smoothing_kernel(nodes, positions, SPATIAL_WIDTH))


def _physiological_loadings(anatomy: Anatomy, stream: Stream) -> Array:
    """Return one factor of the whole brain and nine broad ones (pulse, breath, vigilance)."""
    near = smoothing_kernel(anatomy.positions, anatomy.positions, 25.0)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    fields = near @ stream.normal(anatomy.n_voxels, N_PHYSIOLOGICAL)
    fields[:, 0] = 1.5 + 0.3 * fields[:, 0]
    return _unit(fields.T)


def _motion_loadings(anatomy: Anatomy, stream: Stream) -> Array:
    """Return six factors linear in position, with sign and size by tissue contrast nearby."""
    scaled = (anatomy.positions - anatomy.positions.mean(0)) / anatomy.positions.std(0)
    base = np.concatenate([np.ones((len(scaled), 3)), scaled], axis=1)
    return _unit((base * (0.7 + 0.5 * stream.normal(len(scaled), 1))).T)
