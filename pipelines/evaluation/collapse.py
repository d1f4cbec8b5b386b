"""Predictions that fall into a few directions or clusters: they identify no new picture.

A decoder can reach high scores by always predicting one of the kinds of picture it was trained
on. It shows in the rank and spread of its predictions, and in kinds it was not trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit_findings import Finding, verdict_of
from phosphene.pipelines.metrics import bootstrap_interval, two_way_identification

__all__ = ["CollapseResult", "check_collapse", "effective_rank"]

Array = np.ndarray[Any, Any]
LEAST_RANK, LEAST_SPREAD = 0.05, 0.05  # of the truth's, below which predictions have collapsed


def effective_rank(embeddings: Array) -> float:
    """Return in how many directions embeddings vary: exp of the entropy of singular values.

    Roy and Vetterli 2007, *EUSIPCO*. 1 where all lie on a line, 0 where all are equal.

    Parameters
    ----------
    embeddings : ndarray of shape (n, ...)

    Examples
    --------
    >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
    2.0
    """
    rows = np.asarray(embeddings, dtype=np.float64).reshape(len(embeddings), -1)
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    largest = float(np.abs(rows).max()) if rows.size else 0.0
    values = values[values > 1e-9 * max(largest, 1e-12) * np.sqrt(rows.size)]
    if not len(values):
        return 0.0
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


@dataclass(frozen=True)
class CollapseResult:
    """Rank, spread and what is left on unseen categories.

    Attributes
    ----------
    rank_predicted, rank_true : float
        Effective ranks.
    spread : float
        Standard deviation of predictions over that of the truth, all dimensions together.
        Regression to the mean makes it less than 1 without being wrong.
    seen, unseen : float or None
        Two-way identification of pictures whose category was, or was not, in training, each
        among pictures of the same kind; ``None`` where there are fewer than two.
    unseen_interval : (float, float) or None
        Over pictures.
    collapsed : bool
        Whether rank or spread are below a twentieth of the truth's, or most predictions are the
        same to identification.
    """

    rank_predicted: float
    rank_true: float
    spread: float
    seen: float | None
    unseen: float | None
    unseen_interval: tuple[float, float] | None
    collapsed: bool

    def finding(self) -> Finding:
        """Return the finding of the audit ``collapse``."""
        parts = [
            f"predictions vary in {self.rank_predicted:.1f} directions, the truth in "
            f"{self.rank_true:.1f}; their spread is {self.spread:.2f} of the truth's"
        ]
        parts += [
            f"two-way identification {value:.2f} among pictures of {kind} categories"
            for kind, value in (("seen", self.seen), ("unseen", self.unseen))
            if value is not None
        ]
        details = {
            "effective_rank_predicted": self.rank_predicted,
            "effective_rank_true": self.rank_true,
            "spread": self.spread,
            "identification_seen": self.seen,
            "identification_unseen": self.unseen,
            "identification_unseen_interval": self.unseen_interval,
        }
        return Finding("collapse", verdict_of(self.collapsed), "; ".join(parts), details)


def check_collapse(
    predicted: Array,
    truth: Array,
    *,
    categories: Sequence[Any] | Array | None = None,
    training_categories: Iterable[Any] = (),
) -> CollapseResult:
    """Compare predicted with true embeddings of test pictures.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, ...)
        One row per picture.
    categories : sequence of length n, optional
        Of the pictures.
    training_categories : iterable
        Those that were trained on.
    """
    if predicted.shape != truth.shape or len(predicted) < 3:
        raise InputError(
            f"predictions of shape {predicted.shape} beside truths of {truth.shape}",
            expected="two arrays of equal shape with at least three items",
        )
    ranks = effective_rank(predicted), effective_rank(truth)
    spreads = [
        float(np.sqrt(np.var(np.asarray(x, float), axis=0).sum())) for x in (predicted, truth)
    ]
    spread = spreads[0] / spreads[1] if spreads[1] > 0 else float("nan")
    alike = two_way_identification(predicted, truth).collapsed
    seen = unseen = interval = None
    if categories is not None:
        known = {str(name) for name in training_categories}
        inside = np.array([str(name) in known for name in np.asarray(categories).tolist()])
        seen, _ = _identified(predicted, truth, inside)
        unseen, interval = _identified(predicted, truth, ~inside)
    # On a line, or nearly, where the truth is not.
    flat = ranks[0] < max(1.5, LEAST_RANK * ranks[1]) and ranks[1] > 3
    collapsed = alike or flat or spread < LEAST_SPREAD
    return CollapseResult(*ranks, spread, seen, unseen, interval, collapsed)


def _identified(
    predicted: Array, truth: Array, rows: Array
) -> tuple[float | None, tuple[float, float] | None]:
    if rows.sum() < 2:
        return None, None
    scores = two_way_identification(predicted[rows], truth[rows]).scores
    return float(np.nanmean(scores)), bootstrap_interval(scores)
