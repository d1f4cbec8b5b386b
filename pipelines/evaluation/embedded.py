"""Retrieval: predicted embeddings against true ones, beside other brains, noise and grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from phosphene.pipelines.evaluation.permutation import exchange_labels, permuted_statistic
from phosphene.pipelines.evaluation.scoring import MetricScores, SubjectScores
from phosphene.pipelines.metrics.specs import MetricOutcome

__all__ = ["score_retrieval"]

Array = np.ndarray[Any, Any]
MOST_PERMUTATIONS = 200  # each searches all pictures again


def score_retrieval(
    scores: SubjectScores,
    metrics: Mapping[str, Any],
    keys: Mapping[str, Array],
    pictures: Sequence[str],
    *,
    n_permutations: int,
    seed: int,
) -> None:
    """Add metrics of embeddings to the scores of one subject.

    Parameters
    ----------
    scores : SubjectScores
        They are added here, or their reason for absence.
    metrics : mapping of str to torchmetrics.Metric
        Of the kind ``retrieval``; they are reset after use.
    keys : mapping of str to ndarray of shape (n_items, d)
        ``predicted`` and ``truth`` as they are compared, and what stands in for ``predicted``, by
        the names of controls; in the order of the subject's rows.
    pictures : sequence of str
        Of each item.
    """
    labels = [f"{row:09d}" for row in scores.rows]
    names, codes = np.unique(np.asarray(pictures), return_inverse=True)
    first = np.array([int(np.flatnonzero(codes == code)[0]) for code in range(len(names))])

    def compute(metric: Any, predicted: Array, order: Array | None = None) -> MetricOutcome:
        shown = codes if order is None else order[codes]
        metric.update(
            predicted, keys["truth"][first[shown]], labels, pictures=names[shown].tolist()
        )
        outcome: MetricOutcome = metric.compute()
        metric.reset()
        return outcome

    drawn = None
    if len(names) > 1:
        count = min(n_permutations, MOST_PERMUTATIONS)
        within = scores.exchange.within(names.tolist())
        drawn = exchange_labels(len(names), within=within, n_permutations=count, seed=seed)
    for name, metric in metrics.items():
        outcome = compute(metric, keys["predicted"])
        if outcome.value is None or drawn is None:
            scores.absent[name] = outcome.note or "one picture: nothing to search"
            continue

        def statistic(order: Array, metric: Any = metric) -> float:
            value = compute(metric, keys["predicted"], order).value
            return float("nan") if value is None else value

        test = permuted_statistic(statistic, drawn, higher_is_better=outcome.spec.higher_is_better)
        rivals = [rival for rival in keys if rival not in ("predicted", "truth")]
        scores.metrics[name] = MetricScores(
            outcome.spec,
            outcome.value,
            _per_item(outcome, scores.rows),
            outcome.chance,
            outcome.collapsed,
            outcome.note,
            controls={rival: compute(metric, keys[rival]).value for rival in rivals},
            test=replace(test, rule=scores.exchange.rule),
            wrong=test.chance,
        )


def _per_item(outcome: MetricOutcome, rows: Sequence[int]) -> Array | None:
    """Return scores in the order of the rows; a picture's score stands with its first item."""
    if outcome.scores is None:
        return None
    place = {row: number for number, row in enumerate(rows)}
    per_item = np.full(len(rows), np.nan)
    per_item[[place[int(label)] for label in outcome.items]] = outcome.scores
    return per_item
