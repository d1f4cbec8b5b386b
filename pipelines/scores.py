"""Numbers of a run whose truth is known, each beside chance and the mean training picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import AssetError, InputError
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    mean_squared_error,
    pixel_correlation,
    structural_similarity,
    two_way_identification,
)
from phosphene.schemas import MetricsFile, MetricValue, Protocol

__all__ = ["score_pictures"]

Array = np.ndarray[Any, Any]
Measure = Callable[[Array, Array], Array]
BLOCK = 32
CHANCE_PAIRINGS, CHANCE_PAIRS = 20, 400  # at most so many pairings, or pairs where items are many
PAIRWISE: dict[str, tuple[Measure, bool]] = {
    "pixcorr/strict-v1": (pixel_correlation, True),
    "ssim/uniform7-v1": (structural_similarity, True),
    "mse/unit-range-v1": (mean_squared_error, False),
}


def score_pictures(
    images: Pictures,
    truth: Pictures,
    protocol: Protocol,
    *,
    mean_picture: Pictures | None,
    pictures: Sequence[str] | None = None,
    n_seen_in_training: int = 0,
) -> MetricsFile:
    """Compare reconstructions with what was shown.

    Parameters
    ----------
    images : ndarray of shape (n_items, n_samples, H, W, 3)
        uint8; an item's score is the mean over its samples.
    truth : ndarray of shape (n_items, H, W, 3)
        uint8, brought to the same size.
    protocol : Protocol
        Stored beside the numbers.
    mean_picture : ndarray of shape (H, W, 3), optional
        Mean training picture, shown as a rival.
    pictures : sequence of str, optional
        Which picture each item is of (equal pictures share one); by default each its own.
    n_seen_in_training : int
        Items whose picture the model was trained on; the result carries the number.
    """
    labels = np.arange(len(truth)) if pictures is None else np.asarray(pictures)
    metrics: list[MetricValue] = []
    per_item: dict[str, list[float | None]] = {}
    for name, (measure, higher) in PAIRWISE.items():
        try:
            value, scores = _pairwise(name, measure, higher, images, truth, mean_picture, labels)
        except (AssetError, InputError) as error:  # a package is missing, or pictures are tiny
            reason = f"{error.found}, {error.expected}" if error.expected else error.found
            value, scores = _absent(name, higher, reason), None
        metrics.append(value)
        if scores is not None:
            per_item[name] = [float(score) for score in scores]
    value, scores = _identification(images, truth, labels, mean_picture is not None)
    metrics.append(value)
    if scores is not None:
        per_item[value.id] = [None if np.isnan(score) else float(score) for score in scores]
    return MetricsFile(
        metrics=metrics,
        per_item=per_item,
        protocol=protocol,
        n_pictures=len(np.unique(labels)),
        n_seen_in_training=n_seen_in_training,
        interval_rule="95 % percentile bootstrap over pictures, 4,000 resamples, seed 0",
    )


def _absent(name: str, higher: bool, reason: str) -> MetricValue:
    return MetricValue(
        id=name,
        value=None,
        interval=None,
        chance=None,
        baselines={},
        n_items=0,
        higher_is_better=higher,
        note=reason,
    )


def _in_blocks(measure: Measure, images: Pictures, truth: Pictures) -> Array:
    """Return one score per pair, holding few of them as floats at a time."""
    starts = range(0, len(truth), BLOCK)
    return np.concatenate([measure(images[i : i + BLOCK], truth[i : i + BLOCK]) for i in starts])


def _pairwise(
    name: str,
    measure: Measure,
    higher: bool,
    images: Pictures,
    truth: Pictures,
    mean_picture: Pictures | None,
    labels: Array,
) -> tuple[MetricValue, Array]:
    samples = range(images.shape[1])
    scores = np.mean([_in_blocks(measure, images[:, k], truth) for k in samples], axis=0)
    grey = np.full_like(truth[:1], 128)
    rivals = (
        {"grey_picture": grey}
        if mean_picture is None
        else {"grey_picture": grey, "mean_picture": mean_picture[None]}
    )
    several = len(np.unique(labels)) > 1
    return MetricValue(
        id=name,
        value=float(scores.mean()),
        interval=bootstrap_interval(scores, pictures=labels) if several else None,
        chance=_permuted(measure, images[:, 0], truth, labels),
        baselines={
            rival: float(_in_blocks(measure, np.broadcast_to(picture, truth.shape), truth).mean())
            for rival, picture in rivals.items()
        },
        n_items=len(scores),
        higher_is_better=higher,
    ), scores


def _permuted(measure: Measure, images: Pictures, truth: Pictures, labels: Array) -> float | None:
    """Score of the same reconstructions paired with other pictures (seeded permutations)."""
    generator, scores = np.random.default_rng(0), []
    for _ in range(max(1, min(CHANCE_PAIRINGS, CHANCE_PAIRS // len(truth)))):
        order = generator.permutation(len(truth))
        other = np.roll(order, 1)  # a shift along a random order pairs no item with itself
        wrong = labels[order] != labels[other]
        if wrong.any():
            scores.append(_in_blocks(measure, images[order[wrong]], truth[other[wrong]]))
    return float(np.concatenate(scores).mean()) if scores else None


def _identification(
    images: Pictures, truth: Pictures, labels: Array, mean_known: bool
) -> tuple[MetricValue, Array | None]:
    name = "two-way-pixels/strict-v1"
    if len(np.unique(labels)) < 2:
        return _absent(name, True, "one picture: nothing to tell it from"), None
    samples = range(images.shape[1])
    results = [two_way_identification(images[:, k], truth, pictures=labels) for k in samples]
    scores = np.mean([result.scores for result in results], axis=0)
    collapsed = any(result.collapsed for result in results)
    return MetricValue(
        id=name,
        value=float(np.nanmean(scores)),
        interval=bootstrap_interval(scores, pictures=labels),
        chance=0.5,
        # One picture for all beats a truth as often as another truth beats it.
        baselines=dict.fromkeys(("grey_picture", "mean_picture")[: 1 + mean_known], 0.5),
        n_items=len(scores),
        higher_is_better=True,
        note="collapsed: most predictions are the same picture" if collapsed else "",
    ), scores
