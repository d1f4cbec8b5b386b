"""The response of the blood to a frame, and which of a family of responses a training block allows.

Where bars move in one direction only, a later response and fields further back along the path
predict the same volumes, except at the edges of the screen. So the delay is not maximised: every
candidate gets a probability, and what is decoded is a mean over them. Three things speak: the
evidence of the voxels, counted for as many voxels as are independent and not for as many as there
are (a composite likelihood; Varin, Reid and Firth 2011); how well centres then lie around the
fovea; and a prior, peaks of 4 s give or take one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phosphene.encoders.brain.receptive_fields import (
    ReceptiveFields,
)
from phosphene.errors import UsageError

__all__ = ["PEAKS", "SHAPES", "ResponsePosterior", "blood_response", "weigh_responses"]

Array = np.ndarray[Any, Any]

PEAKS = (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)  # seconds after the middle of the frame
PRIOR = (4.0, 1.0)  # mean and standard deviation of the peak
SHAPES = ((1.4, 0.0), (2.0, 0.0), (2.0, 0.3), (2.7, 0.0), (2.7, 0.3))
"""Standard deviation of the response in seconds, and volume of the undershoot."""
UNDERSHOOT = (6.0, 4.0)  # seconds from the peak to that of the undershoot, standard deviation
SECONDS = 24.0
MOST = 800  # voxels that are asked
EVERYWHERE = 1e6  # degrees: no magnification
LEAST = 0.02  # candidates below this probability are left out


def blood_response(
    tr: float, peak: float, width: float = 2.0, undershoot: float = 0.3, *, seconds: float = SECONDS
) -> Array:
    """Return the response (n_lags,) to a frame shown for one TR: two gamma densities, sum 1.

    Parameters
    ----------
    tr : float
        Seconds per volume. Lag k is the volume k TRs after the one during which the frame was
        shown; both are taken at their middle.
    peak, width : float
        Mode and standard deviation of the first density in seconds.
    undershoot : float
        Volume of the second one.
    """
    from scipy.stats import gamma

    if not tr > 0:
        raise UsageError(f"`tr` is {tr}", expected="seconds per volume, above 0")
    lags = np.arange(max(2, int(np.ceil(seconds / tr))))
    within = (np.arange(20) + 0.5) / 20 - 0.5
    times = np.maximum((lags[:, None] - within[None]) * tr, 0)
    total = np.zeros(len(lags))
    parts = ((1.0, peak, width), (-undershoot, peak + UNDERSHOOT[0], UNDERSHOOT[1]))
    for size, mode, spread in parts:
        unit = (-mode + np.sqrt(mode**2 + 4 * spread**2)) / 2
        total += size * gamma.pdf(times, mode / unit + 1, scale=unit).mean(axis=1)
    return np.asarray(total / total.sum())


@dataclass(frozen=True, eq=False)
class ResponsePosterior:
    """Candidates for the response and their probabilities.

    Attributes
    ----------
    peaks : tuple of float
        Seconds.
    responses : (n, n_lags) float64
    probability : (n,) float64
    shape : tuple of float
        Width and undershoot, the same for all.
    """

    peaks: tuple[float, ...]
    responses: Array
    probability: Array
    shape: tuple[float, float]

    @property
    def mean_peak(self) -> float:
        """Mean of the peak in seconds."""
        return float(np.dot(self.probability, self.peaks))


def weigh_responses(
    fields: ReceptiveFields,
    bold: Array,
    seen: Array,
    rows: Array,
    tr: float,
    independent: float,
) -> ResponsePosterior:
    """Return the posterior over responses.

    Parameters
    ----------
    fields : ReceptiveFields
        Fitted with some response; its voxels and population are used.
    bold, seen, rows, tr
        See :meth:`ReceptiveFields.fit`.
    independent : float
        How many voxels of independent noise theirs amounts to.
    """
    voxels = fields.voxels_[np.sort(np.argsort(-fields.log_odds_, kind="stable")[:MOST])]
    known, chosen = fields.population_, bold[:, voxels]
    populations = (replace(known, fovea=EVERYWHERE), known)

    def evidence(peak: float, shape: tuple[float, float]) -> tuple[float, float]:
        """Return log evidence with centres anywhere on the grid, and what the fovea adds."""
        response = blood_response(tr, peak, *shape)
        again = ReceptiveFields(fields.grid, response, correlation=fields.correlation)
        flat, total = again.log_evidence(chosen, seen, rows, populations)
        return flat, total - flat

    shape = max(SHAPES, key=lambda one: sum(evidence(PRIOR[0], one)))
    found = [evidence(peak, shape) for peak in PEAKS]
    data, centres = np.array(found).T
    log = data * min(1.0, independent / len(voxels)) + centres
    log -= 0.5 * ((np.array(PEAKS) - PRIOR[0]) / PRIOR[1]) ** 2
    probability = np.exp(log - log.max())
    probability /= probability.sum()
    kept = probability >= LEAST
    peaks = tuple(float(peak) for peak in np.array(PEAKS)[kept])
    return ResponsePosterior(
        peaks=peaks,
        responses=np.stack([blood_response(tr, peak, *shape) for peak in peaks]),
        probability=probability[kept] / probability[kept].sum(),
        shape=shape,
    )
