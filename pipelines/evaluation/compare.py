"""Two results over the same pictures: paired differences, corrected over metrics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.results import number, overlap_words
from phosphene.pipelines.evaluation.statistics import adjust_p_values, sign_flip_test
from phosphene.pipelines.metrics.intervals import paired_bootstrap
from phosphene.schemas import EvaluatedMetric, EvaluationFile

__all__ = [
    "Comparison",
    "Difference",
    "compare_evaluations",
    "comparison_lines",
    "comparison_table",
]

Array = np.ndarray[Any, Any]
SETTINGS = ("averaging", "n_samples", "size_rule", "transductive", "split")


@dataclass(frozen=True)
class Difference:
    """One metric of two results.

    Attributes
    ----------
    difference : float
        Mean over pictures of first minus second.
    interval : (float, float)
        95 % bootstrap over pictures.
    p_value, corrected : float
        Two-sided, by flipping the sign of whole pictures; and after Holm's correction over the
        metrics of the comparison.
    better : {"first", "second", "neither"}
        By the corrected p-value at .05.
    metrics : (EvaluatedMetric, EvaluatedMetric)
        Each result's own, with its controls.
    """

    id: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    corrected: float
    better: str
    n_pictures: int
    metrics: tuple[EvaluatedMetric, EvaluatedMetric]


@dataclass(frozen=True)
class Comparison:
    """Two results, metric by metric.

    Attributes
    ----------
    left_out : dict of str to str
        Metrics that are not compared, and why.
    notes : tuple of str
        In what the two protocols differ.
    overlaps : tuple of str
        What is known of each result's overlap of training and test.
    """

    first: str
    second: str
    differences: tuple[Difference, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    overlaps: tuple[str, str]
    n_pictures: int


def compare_evaluations(first: EvaluationFile, second: EvaluationFile) -> Comparison:
    """Compare two results picture by picture.

    Parameters
    ----------
    first, second : EvaluationFile

    Raises
    ------
    InputError
        If they have no picture in common, an identifier stands for different pictures, a
        metric's definition differs, or no metric is in both.
    """
    pictures = _common_pictures(first, second)
    ours, theirs = ({metric.id: metric for metric in one.metrics} for one in (first, second))
    _check_definitions(first, second, ours, theirs)
    left_out, found = _left_out(first, second), []
    same_pool = _pool(first) == _pool(second)
    for name in [name for name in ours if name in theirs]:
        pair = (ours[name], theirs[name])
        reason = _why_not(pair, same_pool)
        if reason:
            left_out[name] = reason
            continue
        scores = [
            _picture_means(one, metric, pictures)
            for one, metric in zip((first, second), pair, strict=True)
        ]
        kept = ~np.isnan(scores[0]) & ~np.isnan(scores[1])
        if kept.sum() < 2:
            left_out[name] = "fewer than two pictures have a score in both"
            continue
        found.append((pair, scores[0][kept], scores[1][kept]))
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(
            f"no metric of {first.name} and {second.name} can be compared ({reasons})",
            expected="metrics with a score per picture in both",
            remedy="evaluate both with the same --suite on the same pictures",
        )
    return Comparison(
        first.name,
        second.name,
        _differences(found),
        left_out,
        _protocol_notes(first, second),
        (_overlap(first), _overlap(second)),
        len(pictures),
    )


def _differences(
    found: list[tuple[tuple[EvaluatedMetric, EvaluatedMetric], Array, Array]],
) -> tuple[Difference, ...]:
    p_values = np.array([sign_flip_test(one, two)[1] for _, one, two in found])
    corrected = adjust_p_values(p_values, "holm")
    rows = []
    for (pair, one, two), p_value, adjusted in zip(found, p_values, corrected, strict=True):
        metric = pair[0]
        difference, interval, _ = paired_bootstrap(one, two)
        wins = (difference > 0) == metric.higher_is_better
        certain = adjusted <= 0.05 and difference != 0
        rows.append(
            Difference(
                metric.id,
                float(one.mean()),
                float(two.mean()),
                difference,
                interval,
                float(p_value),
                float(adjusted),
                ("first" if wins else "second") if certain else "neither",
                len(one),
                pair,
            )
        )
    return tuple(rows)


def _common_pictures(first: EvaluationFile, second: EvaluationFile) -> list[str]:
    """Return the identifiers in both; each has to stand for the same picture."""
    contents = [{item.picture: item.picture_hash for item in one.items} for one in (first, second)]
    common = sorted(set(contents[0]) & set(contents[1]))
    if not common:
        examples = [min(content, default="(none)") for content in contents]
        raise InputError(
            f"{first.name} and {second.name} have no picture in common "
            f"({examples[0]!r} here, {examples[1]!r} there, for example)",
            expected="two results of the same test pictures, under the same identifiers",
            remedy="evaluate both against the same --truth",
        )
    differing = [name for name in common if contents[0][name] != contents[1][name]]
    if differing:
        raise InputError(
            f"{len(differing)} identifiers stand for other pictures in {first.name} than in "
            f"{second.name}, {differing[0]!r} for example",
            expected="the same picture behind the same identifier",
            remedy="evaluate both against the same --truth",
        )
    return common


def _check_definitions(
    first: EvaluationFile,
    second: EvaluationFile,
    ours: dict[str, EvaluatedMetric],
    theirs: dict[str, EvaluatedMetric],
) -> None:
    common = sorted(set(ours) & set(theirs))
    if not common:
        raise InputError(
            f"{first.name} has the metrics {', '.join(sorted(ours)) or '(none)'} and "
            f"{second.name} has {', '.join(sorted(theirs)) or '(none)'}",
            expected="at least one metric of the same definition in both",
            remedy="evaluate both with the same --suite",
        )
    for name in common:
        keys = sorted(set(ours[name].spec) | set(theirs[name].spec))
        differing = [k for k in keys if ours[name].spec.get(k) != theirs[name].spec.get(k)]
        if differing:
            key = differing[0]
            raise InputError(
                f"{name} is defined differently in the two results: {key} is "
                f"{ours[name].spec.get(key)!r} and {theirs[name].spec.get(key)!r}",
                expected="one definition under one id",
                remedy="evaluate both with the same release",
            )


def _left_out(first: EvaluationFile, second: EvaluationFile) -> dict[str, str]:
    names = [{metric.id for metric in one.metrics} for one in (first, second)]
    reasons = dict.fromkeys(sorted(names[0] - names[1]), f"only in {first.name}")
    reasons |= dict.fromkeys(sorted(names[1] - names[0]), f"only in {second.name}")
    return reasons


def _why_not(pair: tuple[EvaluatedMetric, EvaluatedMetric], same_pool: bool) -> str:
    """Return why a metric's scores are no pairs, or nothing."""
    if not all(metric.per_item for metric in pair):
        return "a score of the whole set, not of pictures"
    if not same_pool and pair[0].spec.get("ties", "none") != "none":
        return "identified among other pictures in one result than in the other"
    return ""


def _pool(one: EvaluationFile) -> set[str]:
    return {item.picture for item in one.items}


def _picture_means(one: EvaluationFile, metric: EvaluatedMetric, pictures: list[str]) -> Array:
    """Return one score per picture, the mean of its items; NaN where none has any."""
    scores: dict[str, list[float]] = defaultdict(list)
    for item, score in zip(one.items, metric.per_item, strict=True):
        if score is not None:
            scores[item.picture].append(score)
    return np.array([np.mean(scores[name]) if scores[name] else np.nan for name in pictures])


def _protocol_notes(first: EvaluationFile, second: EvaluationFile) -> tuple[str, ...]:
    notes = []
    for name in SETTINGS:
        values = [getattr(one.protocol, name) for one in (first, second)]
        if values[0] != values[1]:
            notes.append(f"{name} differs: {values[0]} and {values[1]}")
    return tuple(notes)


def _overlap(one: EvaluationFile) -> str:
    if words := overlap_words(one):
        return words
    if one.audit is not None and one.audit.get("line"):
        return str(one.audit["line"])
    if one.n_seen_in_training is not None:
        return f"overlap: {one.n_seen_in_training} of {len(one.items)} items were trained on"
    return "overlap: not known, for neither training pictures nor a dataset were given"


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return the comparison for people: metrics with their controls, then what to know about it."""
    lines = [f"first: {comparison.first}", f"second: {comparison.second}"]
    for row in comparison.differences:
        low, high = row.interval
        lines.append(
            f"{row.id} {row.first:.3f} and {row.second:.3f}: difference {row.difference:.3f} "
            f"[{low:.3f}, {high:.3f}], p {row.p_value:.2g}, corrected {row.corrected:.2g}, "
            f"better: {row.better}"
        )
        words = [f"{name} {_both(values)}" for name, values in _controls(row).items()]
        lines.append(f"  {', '.join(words)}")
    lines += [f"not compared: {name} ({reason})" for name, reason in comparison.left_out.items()]
    lines += [f"careful: {note}" for note in comparison.notes]
    names = (comparison.first, comparison.second)
    lines += [f"{name}: {words}" for name, words in zip(names, comparison.overlaps, strict=True)]
    lines.append(f"pictures: {comparison.n_pictures}")
    return lines


def _controls(row: Difference) -> dict[str, list[float | None]]:
    """Return what stands beside the two scores; within categories where one of them has it."""
    within = [
        None if metric.within_category is None else metric.within_category.value
        for metric in row.metrics
    ]
    found = {
        "grey picture": [metric.controls.get("grey_picture") for metric in row.metrics],
        "wrong pairing": [metric.permuted.mean for metric in row.metrics],
        "p": [metric.permuted.p_value for metric in row.metrics],
        "within category": within,
    }
    return found if any(value is not None for value in within) else dict(list(found.items())[:3])


def _both(values: list[float | None]) -> str:
    return " and ".join("–" if value is None else f"{value:.3g}" for value in values)


def comparison_table(comparison: Comparison) -> str:
    """Return the comparison as tab-separated text."""
    head = "metric first second difference low high p_value p_holm better n_pictures"
    kinds = ("grey_picture", "permuted", "permuted_p", "within_category", "overlap")
    more = [f"{kind}_{which}" for kind in kinds for which in ("first", "second")]
    lines = ["\t".join([*head.split(), *more])]
    for row in comparison.differences:
        values = (row.first, row.second, row.difference, *row.interval, row.p_value, row.corrected)
        cells = [row.id, *(f"{value:.6g}" for value in values), row.better, str(row.n_pictures)]
        controls = list(_controls(row).values())
        cells += [number(value) for pair in controls for value in pair]
        cells += [number(None)] * 2 * (4 - len(controls))
        lines.append("\t".join([*cells, *(" ".join(one.split()) for one in comparison.overlaps)]))
    return "\n".join(lines) + "\n"
