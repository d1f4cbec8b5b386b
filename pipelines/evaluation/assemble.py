"""Scores of subjects brought together into the numbers of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phosphene.pipelines.evaluation.permutation import p_value
from phosphene.pipelines.evaluation.scoring import MetricScores, SubjectScores
from phosphene.pipelines.evaluation.statistics import adjust_p_values, group_result
from phosphene.pipelines.metrics.intervals import bootstrap_interval
from phosphene.schemas import (
    AbsentMetric,
    AcrossSubjects,
    EvaluatedMetric,
    PermutedPairing,
    RepetitionScores,
    WithinCategory,
)

__all__ = ["INTERVAL_RULE", "assemble_curve", "assemble_metrics", "corrected", "fewer_name"]

Array = np.ndarray[Any, Any]
INTERVAL_RULE = "95 % percentile bootstrap over pictures, 4,000 resamples, seed 0"
TWO_WAY_CHANCE = 0.5
FEWER = "repetitions_"
NOTHING_TO_PERMUTE = "nothing to exchange: fewer than two pictures"
OF_SETS = "a score of whole sets: it does not depend on the pairing"


def assemble_metrics(
    subjects: Mapping[str | None, SubjectScores], pictures: Sequence[str], order: Sequence[str]
) -> tuple[list[EvaluatedMetric], list[AbsentMetric]]:
    """Return each metric over all subjects, in the order of the suite.

    Parameters
    ----------
    subjects : mapping of subject label to SubjectScores
        ``None`` where nobody says whose predictions these are.
    pictures : sequence of str
        Shown picture of every item, in the order of the result's items.
    order : sequence of str
        Ids of the metrics.

    Returns
    -------
    metrics, absent : list
        A metric that is missing for one subject is absent for all.
    """
    metrics, absent = [], []
    for name in order:
        reasons = {label: one.absent[name] for label, one in subjects.items() if name in one.absent}
        if reasons:
            label, reason = next(iter(reasons.items()))
            whose = "" if label is None or len(subjects) == 1 else f"subject {label}: "
            absent.append(AbsentMetric(id=name, reason=whose + reason))
        else:
            parts = {label: (one.rows, one.metrics[name]) for label, one in subjects.items()}
            metrics.append(_assemble(parts, np.asarray(pictures)))
    return corrected(metrics), absent


def _assemble(
    parts: Mapping[str | None, tuple[list[int], MetricScores]], pictures: Array
) -> EvaluatedMetric:
    scores = [one for _, one in parts.values()]
    spec = scores[0].spec
    per_item = _spread(parts, len(pictures), "per_item")
    permuted = _permuted(scores)
    chances = [one.chance for one in scores if one.chance is not None]
    chance = float(np.mean(chances)) if len(chances) == len(scores) else permuted.mean
    n_items = len(pictures) if per_item is None else int(np.isfinite(per_item).sum())
    return EvaluatedMetric(
        id=spec.id,
        spec=spec.model_dump(mode="json"),
        value=float(np.mean([one.value for one in scores])),
        interval=None if per_item is None else _interval(per_item, pictures),
        chance=chance,
        permuted=permuted,
        controls=_controls(scores),
        within_category=_within(_spread(parts, len(pictures), "within"), pictures, scores),
        across_subjects=_across_subjects(parts, pictures, chance),
        per_subject={label: one.value for label, (_, one) in parts.items() if label is not None},
        per_item=[] if per_item is None else [_finite(score) for score in per_item],
        n_items=n_items,
        n_pictures=len(np.unique(pictures)),
        higher_is_better=spec.higher_is_better,
        collapsed=any(one.collapsed for one in scores),
        note="; ".join(dict.fromkeys(one.note for one in scores if one.note)),
    )


def _across_subjects(
    parts: Mapping[str | None, tuple[list[int], MetricScores]],
    pictures: Array,
    chance: float | None,
) -> AcrossSubjects | None:
    """Take subjects as the random factor; ``None`` for one, which says nothing of others."""
    if len(parts) < 2:
        return None
    scores, shown = {}, {}
    for label, (rows, one) in parts.items():
        whole = one.per_item is None or not np.isfinite(one.per_item).any()
        scores[str(label)] = np.array([one.value]) if whole else np.asarray(one.per_item)
        shown[str(label)] = np.array(["all"]) if whole else pictures[rows]
    found = group_result(scores, pictures=shown, chance=chance)
    assert found.interval is not None
    return AcrossSubjects(
        value=found.value,
        interval=found.interval,
        p_value=found.p_value,
        n_subjects=len(found.rows),
        rule="Student's t over subjects' means"
        + ("" if chance is None else f", two-sided against {chance:.3g}"),
    )


def corrected(metrics: Sequence[EvaluatedMetric]) -> list[EvaluatedMetric]:
    """Return metrics with p-values of the pairing also corrected for their number (Holm)."""
    tested = [one for one in metrics if one.permuted.p_value is not None]
    if not tested:
        return list(metrics)
    values = adjust_p_values([float(one.permuted.p_value or 0) for one in tested], "holm")
    known = {one.id: float(value) for one, value in zip(tested, values, strict=True)}
    return [
        one.model_copy(
            update={"permuted": one.permuted.model_copy(update={"p_holm": known.get(one.id)})}
        )
        for one in metrics
    ]


def _spread(
    parts: Mapping[str | None, tuple[list[int], MetricScores]], n_items: int, name: str
) -> Array | None:
    """Put the scores of all subjects in the order of the items; ``None`` where one has none."""
    spread = np.full(n_items, np.nan)
    for rows, one in parts.values():
        values = getattr(one, name)
        if values is None:
            return None
        spread[rows] = values
    return spread


def _interval(per_item: Array, pictures: Array) -> tuple[float, float] | None:
    known = np.isfinite(per_item)
    if len(np.unique(pictures[known])) < 2:
        return None
    return bootstrap_interval(per_item, pictures=pictures)


def _controls(scores: Sequence[MetricScores]) -> dict[str, float | None]:
    names = dict.fromkeys(
        name for one in scores for name in one.controls if not name.startswith(FEWER)
    )
    found: dict[str, float | None] = {}
    for name in names:
        values = [one.controls.get(name) for one in scores]
        known = [value for value in values if value is not None]
        found[name] = float(np.mean(known)) if len(known) == len(values) else None
    return found


def _permuted(scores: Sequence[MetricScores]) -> PermutedPairing:
    """Average over subjects: each is permuted by itself, and all count the same."""
    spec = scores[0].spec
    tests = [one.test for one in scores if one.test is not None]
    wrong = [one.wrong for one in scores if one.wrong is not None]
    if len(tests) < len(scores) or not wrong:
        rule = OF_SETS if spec.kind == "set" else NOTHING_TO_PERMUTE
        return PermutedPairing(mean=None, p_value=None, n_permutations=0, rule=rule)
    null = np.mean([test.null for test in tests], axis=0)
    observed = float(np.mean([test.observed for test in tests]))
    return PermutedPairing(
        mean=float(np.mean(wrong)),
        p_value=p_value(observed, null, higher_is_better=spec.higher_is_better),
        n_permutations=len(null),
        rule="; ".join(dict.fromkeys(test.rule for test in tests))
        + (", each subject alone" if len(tests) > 1 else ""),
    )


def _within(
    within: Array | None, pictures: Array, scores: Sequence[MetricScores]
) -> WithinCategory | None:
    if within is None or not np.isfinite(within).any():
        return None
    tests = [one.shuffled for one in scores if one.shuffled is not None]
    null = np.mean([test.null for test in tests], axis=0) if len(tests) == len(scores) else None
    observed = float(np.mean([test.observed for test in tests])) if tests else float("nan")
    return WithinCategory(
        value=float(np.nanmean(within)),
        interval=_interval(within, pictures),
        chance=TWO_WAY_CHANCE,
        n_items=int(np.isfinite(within).sum()),
        collapsed=any(one.collapsed for one in scores),
        shuffled=None if null is None else float(null.mean()),
        p_value=None if null is None else p_value(observed, null),
    )


def fewer_name(count: int) -> str:
    """Return what averages over so many repetitions are called among the rivals."""
    return f"{FEWER}{count}"


def assemble_curve(
    subjects: Mapping[str | None, SubjectScores],
    pictures: Sequence[str],
    counts: Sequence[int],
    metrics: Sequence[EvaluatedMetric],
    all_of: int | None,
) -> list[RepetitionScores]:
    """Return scores by the number of repetitions averaged, from fewest to all.

    Parameters
    ----------
    subjects, pictures
        As for :func:`assemble_metrics`.
    counts : sequence of int
        For which there are rivals named by :func:`fewer_name`.
    metrics : sequence of EvaluatedMetric
        With all repetitions.
    all_of : int, optional
        How many those are, where all items have the same.
    """
    labels = np.asarray(pictures)
    curve = []
    for count in sorted(counts):
        values, intervals = {}, {}
        for metric in metrics:
            parts = [one.metrics[metric.id] for one in subjects.values()]
            found = [part.controls.get(fewer_name(count)) for part in parts]
            known = [value for value in found if value is not None]
            if len(known) < len(found):
                continue
            values[metric.id] = float(np.mean(known))
            scores = np.full(len(labels), np.nan)
            for one in subjects.values():
                own = one.metrics[metric.id].rival_items.get(fewer_name(count))
                if own is not None:
                    scores[one.rows] = own
            if (interval := _interval(scores, labels)) is not None:
                intervals[metric.id] = interval
        curve.append(_point(count, len(labels), values, intervals))
    if curve and all_of is not None:
        values = {metric.id: metric.value for metric in metrics}
        intervals = {m.id: m.interval for m in metrics if m.interval is not None}
        curve.append(_point(all_of, len(labels), values, intervals))
    return curve


def _point(
    count: int,
    n_items: int,
    values: dict[str, float],
    intervals: dict[str, tuple[float, float]],
) -> RepetitionScores:
    return RepetitionScores(
        n_repetitions=count, n_items=n_items, values=values, intervals=intervals
    )


def _finite(score: float) -> float | None:
    return float(score) if np.isfinite(score) else None
