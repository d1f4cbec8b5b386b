"""The best anyone could do with virtual EEG or MEG: the true responses and the true noise.

Sensors in place, gain, blinks and the responses to neighbouring pictures count as known, so a
real decoder stays below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.electric.background import (
    alpha_spectrum,
    autocovariance,
    background_spectrum,
)
from phosphene.data.virtual.electric.presets import STATE_SD
from phosphene.data.virtual.ideal_observer import (
    REPETITIONS,
    IdealIdentification,
    identification_from_gram,
)

if TYPE_CHECKING:
    from phosphene.data.virtual.electric.head import VirtualHead

__all__ = ["ideal_electric", "whitened_gram"]

Array = np.ndarray[Any, Any]


def whitened_gram(head: VirtualHead, signal: Array) -> Array:
    """Return inner products of signals (n, n) in coordinates where single-trial noise is white.

    The background is one covariance over sensors times one over time, and so is the rhythm; both
    become diagonal over sensors in the same coordinates, which leaves a matrix over time for
    each. State noise has few directions, and is taken in by the Woodbury identity: exact.

    Parameters
    ----------
    head : VirtualHead
    signal : (n, C, n_times)
        From :meth:`VirtualHead.respond`.
    """
    from scipy.linalg import cho_solve, cholesky, eigh, solve_triangular

    background = head.background()
    start = round(-head.preset.tmin * head.preset.sfreq)
    seen = signal[:, :, start:].astype(np.float64)
    states = head.respond(head.reference_drives)[:, :, start:].astype(np.float64)
    states *= STATE_SD / np.sqrt(len(states))
    n_times = seen.shape[2]
    slow = autocovariance(background_spectrum, background.sfreq, n_times)
    rhythm = autocovariance(alpha_spectrum, background.sfreq, n_times)
    values, vectors = eigh(background.alpha, background.spatial)
    everything = np.concatenate([seen, states])
    modes = np.einsum("cm,nct->mnt", vectors, everything, optimize=True)
    gram = np.zeros((len(everything), len(everything)))
    for value, mode in zip(values, modes, strict=True):
        factor = cholesky(slow + max(value, 0.0) * rhythm, lower=True)
        white = solve_triangular(factor, mode.T, lower=True)
        gram += white.T @ white
    n = len(seen)
    between, within = gram[:n, n:], gram[n:, n:]
    inner = cholesky(np.eye(len(states)) + within, lower=True)
    reduced: Array = gram[:n, :n] - between @ cho_solve((inner, True), between.T)
    return reduced


def ideal_electric(
    head: VirtualHead,
    signal: Array,
    *,
    repetitions: tuple[int, ...] = REPETITIONS,
    draws: int = 20,
    seed: int = 0,
) -> list[IdealIdentification]:
    """Return how well the presented pictures can be told apart.

    Parameters
    ----------
    head : VirtualHead
    signal : (n, C, n_times)
        True signal of the presented pictures.
    repetitions : tuple of int
    draws : int
        Of the noise; they give the Monte-Carlo error.
    seed : int
    """
    gram = whitened_gram(head, signal)
    return identification_from_gram([gram] * len(repetitions), repetitions, draws=draws, seed=seed)
