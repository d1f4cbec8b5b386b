"""Scores of clips beside what says how much they mean: wrong pairings, stills, grey, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.pairing import correlation_matrix, win_scores
from phosphene.pipelines.evaluation.permutation import (
    PermutationResult,
    Permutations,
    exchange_labels,
    p_value,
)
from phosphene.pipelines.evaluation.statistics import grouped_interval
from phosphene.pipelines.evaluation.within import within_category
from phosphene.pipelines.metrics.clips import (
    ClipMeasure,
    ClipMetric,
    check_clips,
    grey_clips,
    mostly_one,
    still_clips,
)
from phosphene.pipelines.metrics.features import identify_among
from phosphene.pipelines.metrics.intervals import bootstrap_interval
from phosphene.pipelines.metrics.specs import MetricSpec, create_metric
from phosphene.progress import progress
from phosphene.schemas import WithinCategory

__all__ = ["ClipScores", "score_clips"]

Array = np.ndarray[Any, Any]
BATCH, BLOCK = 8, 64  # clips described, and pairs compared, at a time
BLOCK_BYTES = 2**26  # of pairs that are compared at a time
MOST_PAIRS, LEAST_PERMUTATIONS = 20_000, 99


@dataclass(frozen=True, eq=False)
class ClipScores:
    """One metric of a set of clips.

    Attributes
    ----------
    spec : MetricSpec
    value : float
        Mean over clips.
    interval : (float, float)
        95 % bootstrap; clips of one scene are drawn together.
    scores : ndarray of shape (n,)
        In the order that the clips were given.
    controls : dict of str to float
        ``still_picture``: the middle frame of each prediction, held still; ``still_truth``: that
        of each truth, which is all that a perfect decoder of pictures could show;
        ``grey_picture``; and those that were handed over.
    permuted : PermutationResult
        Of the pairing of predictions and truths.
    collapsed : bool
        Whether most predictions are one and the same to a metric that tells clips apart.
    within : WithinCategory or None
        Two-way identification among clips of the same category, where the metric identifies.
    """

    spec: MetricSpec
    value: float
    interval: tuple[float, float]
    scores: Array
    controls: dict[str, float]
    permuted: PermutationResult
    collapsed: bool = False
    within: WithinCategory | None = None


def score_clips(
    name: str,
    predicted: Pictures,
    truth: Pictures,
    *,
    scenes: Sequence[Any] | Array | None = None,
    categories: Sequence[str] | None = None,
    runs: Sequence[Any] | Array | None = None,
    rivals: Mapping[str, Pictures] | None = None,
    n_permutations: int = 200,
    seed: int = 0,
    **options: Any,
) -> ClipScores:
    """Score clips by one metric, beside its controls.

    Every clip is described once; a permutation costs only the comparisons.

    Parameters
    ----------
    name : str
        Id of a metric of clips, such as ``flow-epe/strict-v1``.
    predicted, truth : ndarray of shape (n, F, H, W, 3)
        uint8, at least two clips.
    scenes : sequence of length n, optional
        What each clip was cut from: clips of one scene are drawn together in intervals.
    categories : sequence of length n, optional
        Of what kind each clip is.
    runs : sequence of length n, optional
        Truths are exchanged within runs only.
    rivals : mapping of str to ndarray of shape (n, F, H, W, 3), optional
        Further controls, such as predictions from shuffled recordings.
    n_permutations, seed : int
        Where more than some 20,000 pairs would have to be compared, fewer are drawn, 99 at least.
    **options
        Of :func:`create_metric`.

    Raises
    ------
    UsageError
        If the metric is not one of clips.
    InputError
        If there are fewer than two clips, or none has a score.
    """
    metric = create_metric(name, **options)
    if not isinstance(metric, ClipMetric):
        raise UsageError(f"the metric {name} does not compare clips", "one of the kind video")
    measure = metric.measure
    check_clips(predicted, truth, least_frames=measure.least_frames)
    if len(truth) < 2:
        raise InputError(f"{len(truth)} clip", "at least two, to pair them otherwise")
    for clips in (rivals or {}).values():
        check_clips(clips, truth, least_frames=measure.least_frames)
    others = {
        "still_picture": _Control(predicted, still_clips),
        "still_truth": _Control(truth, still_clips),
        "grey_picture": _Control(truth, grey_clips),
        **(rivals or {}),
    }
    whole = _described(measure, {"predicted": predicted, "truth": truth, **others}, name)
    scores = _compared(measure, whole["predicted"], whole["truth"])
    if np.isnan(scores).all():
        raise InputError(f"no clip has a score in {name}", "more clips, or fewer ways")
    drawn = exchange_labels(
        len(truth), within=runs, n_permutations=_affordable(n_permutations, truth), seed=seed
    )
    permuted = _permuted(
        measure, whole["predicted"], whole["truth"], drawn, metric.spec.higher_is_better
    )
    return ClipScores(
        spec=metric.spec,
        value=float(np.nanmean(scores)),
        interval=_interval(scores, scenes, seed),
        scores=scores,
        controls={
            key: float(np.nanmean(_compared(measure, whole[key], whole["truth"]))) for key in others
        },
        permuted=permuted,
        collapsed=measure.whole_set and mostly_one(whole["predicted"]),
        within=None
        if categories is None or not measure.whole_set
        else _within(whole["predicted"], whole["truth"], categories, scenes, n_permutations, seed),
    )


def _affordable(n_permutations: int, truth: Pictures) -> int:
    """Return how many permutations to draw: a test of fewer is as valid, only coarser."""
    n = len(truth)
    if n * n <= MOST_PAIRS:  # each pair is compared once, however often it is drawn
        return n_permutations
    return min(n_permutations, max(LEAST_PERMUTATIONS, MOST_PAIRS // n))


def _compared(
    measure: ClipMeasure,
    predicted: Array,
    truth: Array,
    rows: Array | None = None,
    others: Array | None = None,
) -> Array:
    """Return the scores of pairs, a block at a time; each row with its own truth by default."""
    if measure.whole_set:
        return measure.compare(predicted, truth)
    rows = np.arange(len(truth)) if rows is None else rows
    others = rows if others is None else others
    size = max(1, min(BLOCK, BLOCK_BYTES // max(1, truth[:1].nbytes)))
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    return np.concatenate(
        [measure.compare(predicted[rows[part]], truth[others[part]]) for part in parts]
    )


class _Control:
    """Clips made of others when they are asked for: memory does not hold all of them."""

    def __init__(self, clips: Pictures, made: Callable[[Pictures], Pictures]) -> None:
        self.clips, self.made = clips, made

    def __getitem__(self, rows: Any) -> Pictures:
        return self.made(np.asarray(self.clips[rows]))


def _permuted(
    measure: ClipMeasure, predicted: Array, truth: Array, drawn: Permutations, higher: bool
) -> PermutationResult:
    """Test the pairing; every pair that some permutation asks for is compared once."""
    orders = np.vstack([np.arange(len(truth)), drawn.rows])
    if measure.whole_set:
        scores = measure.compare_orders(predicted, truth, orders)
    else:
        n = len(truth)
        pairs, place = np.unique(np.arange(n) * n + orders, return_inverse=True)
        compared = _compared(measure, predicted, truth, pairs // n, pairs % n)
        scores = compared[place.reshape(orders.shape)]
    means = [float(np.nanmean(row)) for row in scores]
    observed, null = means[0], np.array(means[1:])
    p = p_value(observed, null, higher_is_better=higher)
    return PermutationResult(observed, float(null.mean()), p, null, drawn.rule)


def _within(
    predicted: Array,
    truth: Array,
    categories: Sequence[str],
    scenes: Sequence[Any] | Array | None,
    n_permutations: int,
    seed: int,
) -> WithinCategory | None:
    """Tell clips apart among those of one category."""
    kinds = np.asarray(categories)
    found = identify_among(predicted, truth, groups=kinds)
    told = np.isfinite(found.scores)
    several = scenes is None or len(set(np.asarray(scenes)[told].tolist())) > 1
    return within_category(
        found.scores,
        win_scores(correlation_matrix(predicted, truth)),
        kinds,
        interval=lambda scores: _interval(scores, scenes, seed) if several else None,
        collapsed=found.collapsed,
        n_permutations=n_permutations,
        seed=seed,
    )


def _described(measure: ClipMeasure, sets: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return the description of every set of clips, a batch at a time."""
    count = len(sets["truth"])
    if measure.as_they_are:
        measure.describe(sets["truth"][:1])
        return dict(sets)
    parts: dict[str, list[Array]] = {key: [] for key in sets}
    for start in progress(range(0, count, BATCH), label=label):
        rows = slice(start, start + BATCH)
        # Together, as in the metric: equal frames are then described equally.
        found = measure.describe(np.concatenate([clips[rows] for clips in sets.values()]))
        for key, part in zip(sets, np.split(found, len(sets)), strict=True):
            parts[key].append(part)
    return {key: np.concatenate(few) for key, few in parts.items()}


def _interval(
    scores: Array, scenes: Sequence[Any] | Array | None, seed: int
) -> tuple[float, float]:
    if scenes is None:
        return bootstrap_interval(scores, seed=seed)
    return grouped_interval(scores, np.arange(len(scores)), scenes, seed=seed)
