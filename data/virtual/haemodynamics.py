"""Blood responses, the timing of a run, and the linear map from a run to single-trial betas.

Ordinary least squares with one regressor per trial (LSA; Mumford et al. 2012) or one model per
trial (LSS) is a matrix applied to the time series. With 4 s between pictures the responses
overlap, so that the errors of neighbouring trials correlate as they do in real betas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from phosphene.errors import check_option

__all__ = ["ESTIMATORS", "HRF_PARAMETERS", "RunModel", "double_gamma", "run_model"]

Array = np.ndarray[Any, Any]

HRF_PARAMETERS = tuple(product((4.0, 4.5, 5.0, 5.5, 6.0), (12.0, 13.3, 14.7, 16.0)))
"""Peak and undershoot (seconds) of the 20 responses of the library."""

ESTIMATORS = ("lsa", "lss")
PICTURE_SECONDS, PAUSE_SECONDS = 3.0, 1.0
LEAD_IN, LEAD_OUT = 8.0, 16.0
TRIALS_PER_BLANK = 10  # one empty trial after as many pictures
TRIALS_PER_RUN = 60
_STEP = 0.1


def double_gamma(times: Array, peak: float, undershoot: float) -> Array:
    """Return the response to a brief event: a gamma density minus a sixth of a later one.

    Parameters
    ----------
    times : ndarray
        Seconds since the event; the response before it is 0.
    peak, undershoot : float
        Modes of the two densities in seconds.
    """
    from scipy.special import gammaln

    t = np.maximum(times, 1e-9)
    parts = []
    for mode in (peak, undershoot):
        shape = mode / 0.9 + 1
        log_density = (shape - 1) * np.log(t / 0.9) - t / 0.9 - gammaln(shape) - np.log(0.9)
        parts.append(np.exp(log_density) * (times > 0))
    response: Array = parts[0] - parts[1] / 6
    return response


@dataclass(frozen=True, eq=False)
class RunModel:
    """One run of n trials and t volumes, for each of the 20 responses.

    Attributes
    ----------
    tr : float
        Seconds between volumes.
    onsets : (n,)
        Seconds since the first volume.
    design : (20, t, n)
        Response to each trial; a beta of 1 peaks at 1.
    nuisance : (t, k)
        Slow drifts that are fitted along.
    estimate : (20, n, t)
        Map from the time series to the betas.
    """

    tr: float
    onsets: Array
    design: Array
    nuisance: Array
    estimate: Array

    @property
    def n_volumes(self) -> int:
        """Number of volumes t."""
        return int(self.design.shape[1])

    def mixing(self, hrf: int) -> Array:
        """Return what the betas are made of: true betas (n, n). The identity for LSA."""
        mixed: Array = self.estimate[hrf] @ self.design[hrf]
        return mixed

    def error_covariance(self, hrf_a: int, hrf_b: int, correlation: float) -> Array:
        """Return covariance (n, n) of the betas' errors for AR(1) noise of unit variance.

        The noise is one time series seen through the maps of two responses.
        """
        lags = np.abs(np.subtract.outer(np.arange(self.n_volumes), np.arange(self.n_volumes)))
        covariance: Array = self.estimate[hrf_a] @ correlation**lags @ self.estimate[hrf_b].T
        return covariance

    def error_table(self, correlation: float) -> Array:
        """Return mean over trials of that covariance's diagonal, for all pairs (20, 20)."""
        lags = np.abs(np.subtract.outer(np.arange(self.n_volumes), np.arange(self.n_volumes)))
        seen = self.estimate @ correlation**lags
        flat = len(self.estimate), -1
        table: Array = seen.reshape(flat) @ self.estimate.reshape(flat).T
        return table / len(self.onsets)


@cache
def run_model(tr: float, n_trials: int, estimator: str = "lsa") -> RunModel:
    """Return the model of a run; an empty trial comes after every ten pictures.

    Parameters
    ----------
    tr : float
        Seconds between volumes.
    n_trials : int
    estimator : {"lsa", "lss"}
    """
    check_option("estimator", estimator, ESTIMATORS)
    slots = np.arange(n_trials) + np.arange(n_trials) // TRIALS_PER_BLANK
    onsets = LEAD_IN + slots * (PICTURE_SECONDS + PAUSE_SECONDS)
    duration = onsets[-1] + PICTURE_SECONDS + LEAD_OUT
    volumes = np.arange(int(np.ceil(duration / tr))) * tr
    since = volumes[:, None] - onsets[None]
    design = np.stack([_block_response(since, *parameters) for parameters in HRF_PARAMETERS])
    # A polynomial per 150 s of run, as packages for task data choose it.
    degree = 1 + int(duration // 150)
    nuisance = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(volumes)), degree)
    # A single trial has no others to be held against: both estimators are the same.
    alone = estimator == "lsa" or n_trials == 1
    fit = _least_squares_all if alone else _least_squares_separate
    estimate = np.stack([fit(one, nuisance) for one in design])
    return RunModel(tr, onsets, design, nuisance, estimate)


def _block_response(since: Array, peak: float, undershoot: float) -> Array:
    """Return the response to 3 s of picture at times since its onset, its peak 1."""
    fine = np.arange(0, 40, _STEP)
    brief = double_gamma(fine, peak, undershoot)
    block = np.convolve(brief, np.ones(round(PICTURE_SECONDS / _STEP)))[: len(fine)]
    response: Array = np.interp(since, fine, block / block.max(), left=0.0, right=0.0)
    return response


def _residual_maker(nuisance: Array) -> Array:
    orthonormal, _ = np.linalg.qr(nuisance)
    maker: Array = np.eye(len(nuisance)) - orthonormal @ orthonormal.T
    return maker


def _least_squares_all(design: Array, nuisance: Array) -> Array:
    maker = _residual_maker(nuisance)
    own = maker @ design
    estimate: Array = np.linalg.solve(own.T @ own, own.T)
    return estimate


def _least_squares_separate(design: Array, nuisance: Array) -> Array:
    """One trial against the sum of all others, each trial in its own model; in closed form."""
    maker = _residual_maker(nuisance)
    own = maker @ design
    others = own.sum(axis=1, keepdims=True) - own
    own_own, both, rest = (own**2).sum(0), (own * others).sum(0), (others**2).sum(0)
    estimate: Array = ((rest * own - both * others) / (own_own * rest - both**2)).T
    return estimate @ maker
