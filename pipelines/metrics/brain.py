"""Agreement of brain responses: those a reconstruction would evoke with those that were measured.

Of the responses predicted by :mod:`phosphene.pipelines.metrics.brain_encoding` or by any other
encoding model. Peers (Scotti et al. 2024, *MindEye2*) correlate likewise, across voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from phosphene.errors import InputError, check_option
from phosphene.pipelines.metrics.base import ItemMetric
from phosphene.pipelines.metrics.identification import two_way_identification
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec

__all__ = [
    "BrainMetric",
    "pattern_ceiling",
    "pattern_correlation",
]

Array = np.ndarray[Any, Any]
Measure = Literal["correlation", "normalised", "identification"]
SPLITS = 20
NOTHING = 1e-12


def pattern_correlation(predicted: Array, measured: Array) -> Array:
    """Return Pearson's r across voxels, for each picture.

    Parameters
    ----------
    predicted, measured : ndarray of shape (n, n_voxels)
        In standard deviations of each voxel over *training*, or else the pattern that all
        pictures share is taken for agreement.

    Returns
    -------
    ndarray of shape (n,)
        0 where either pattern is flat.
    """
    a, b = _checked(predicted, measured)
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product = np.einsum("nv,nv->n", a, b)
    return np.asarray(np.divide(product, norm, out=np.zeros(len(a)), where=norm > NOTHING))


def pattern_ceiling(repetitions: Array, *, seed: int = 0) -> float:
    """Return the correlation that perfect predictions would have with the mean of all repetitions.

    Patterns of two halves of the repetitions are correlated picture by picture; Spearman and
    Brown's formula takes the mean to the number of repetitions that there are, and the root of
    that reliability is the ceiling.

    Parameters
    ----------
    repetitions : ndarray of shape (n, n_repetitions, n_voxels)
    seed : int
        Of the halves, which are drawn twenty times.

    Returns
    -------
    float
        0 to 1; NaN with a single repetition.
    """
    rows = np.asarray(repetitions, dtype=np.float64)
    if rows.ndim != 3:
        raise InputError(
            f"repetitions of shape {rows.shape}", "(n_pictures, n_repetitions, n_voxels)"
        )
    count = rows.shape[1]
    if count < 2:
        return float("nan")
    half, generator = count // 2, np.random.default_rng(seed)
    found = []
    for _ in range(SPLITS):
        order = generator.permutation(count)
        parts = rows[:, order[:half]].mean(axis=1), rows[:, order[half : 2 * half]].mean(axis=1)
        found.append(pattern_correlation(*parts).mean())
    single = max(0.0, float(np.mean(found)))
    longer = count / half
    return float(np.sqrt(longer * single / (1 + (longer - 1) * single)))


class BrainMetric(ItemMetric):
    """A score of predicted and measured responses of the judging voxels.

    Parameters
    ----------
    spec : MetricSpec
    measure : {"correlation", "normalised", "identification"}
    """

    def __init__(self, spec: MetricSpec, measure: Measure, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.measure = check_option(
            "measure", measure, ("correlation", "normalised", "identification")
        )
        self.keep("predicted", "measured")

    def update(self, predicted: Array, measured: Array, items: Sequence[str]) -> None:
        """Keep a batch of predicted responses (n, n_voxels) and of measured ones.

        Parameters
        ----------
        predicted : ndarray of shape (n, n_voxels)
        measured : ndarray of shape (n, n_voxels) or (n, n_repetitions, n_voxels)
        items : sequence of length n
        """
        # Sums round differently along another axis of memory.
        found, known = (np.array(x, dtype=np.float64, order="C") for x in (predicted, measured))
        known = known[:, None] if known.ndim == 2 else known
        if found.ndim != 2 or known.ndim != 3 or found.shape != (len(known), known.shape[2]):
            raise InputError(
                f"predicted responses of shape {found.shape} beside measured ones of "
                f"{np.shape(measured)}",
                expected="(n, n_voxels) beside (n, n_voxels) or (n, n_repetitions, n_voxels)",
            )
        if not (np.isfinite(found).all() and np.isfinite(known).all()):
            raise InputError("responses that are not finite", "a number for every voxel")
        self.add(items, predicted=found, measured=known)

    def compute(self) -> MetricOutcome:
        """Return the mean and one score per picture.

        ``details`` has the ceiling of the measured means where there are repetitions.
        """
        items, states = self.collected()
        predicted, repeated = (states[name].cpu().numpy() for name in ("predicted", "measured"))
        measured = repeated.mean(axis=1)
        if self.measure == "identification":
            if len(items) < 2:
                return self.outcome(np.full(len(items), np.nan), items, note="a single picture")
            told = two_way_identification(predicted, measured)
            return self.outcome(told.scores, items, collapsed=told.collapsed)
        scores = pattern_correlation(predicted, measured)
        ceiling = pattern_ceiling(repeated)
        details = {} if np.isnan(ceiling) else {"ceiling": ceiling}
        if self.measure == "correlation":
            return self.outcome(scores, items, details=details)
        if not ceiling > 0:
            note = "no ceiling: " + ("no pattern repeats" if details else "no repetitions")
            return self.outcome(np.full(len(items), np.nan), items, note=note, details=details)
        return self.outcome(scores / ceiling, items, details=details)


def _checked(predicted: Array, measured: Array) -> tuple[Array, Array]:
    a, b = (np.array(x, dtype=np.float64, order="C") for x in (predicted, measured))
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(
            f"predicted responses of shape {a.shape} beside measured ones of {b.shape}",
            expected="two arrays (n, n_voxels) of equal shape",
        )
    return a, b
