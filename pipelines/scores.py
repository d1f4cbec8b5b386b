"""Numbers of a run whose truth is known, each beside chance and the mean training picture."""

from __future__ import annotations

from collections.abc import Callable
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
CHANCE_PAIRINGS = 20
PAIRWISE: dict[str, tuple[Callable[[Array, Array], Array], bool]] = {
    "pixcorr/strict-v1": (pixel_correlation, True),
    "ssim/uniform7-v1": (structural_similarity, True),
    "mse/unit-range-v1": (mean_squared_error, False),
}


def score_pictures(
    images: Pictures, truth: Pictures, protocol: Protocol, *, mean_picture: Pictures | None
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
    """
    metrics, per_item = [], {}
    for name, (measure, higher) in PAIRWISE.items():
        try:
            value, scores = _pairwise(name, measure, higher, images, truth, mean_picture)
        except (AssetError, InputError) as error:  # a package is missing, or pictures are tiny
            reason = f"{error.found}, {error.expected}" if error.expected else error.found
            value, scores = _absent(name, higher, reason), None
        metrics.append(value)
        if scores is not None:
            per_item[name] = [float(score) for score in scores]
    value, scores = _identification(images, truth)
    metrics.append(value)
    if scores is not None:
        per_item[value.id] = [float(score) for score in scores]
    return MetricsFile(
        metrics=metrics,
        per_item=per_item,
        protocol=protocol,
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


def _pairwise(
    name: str,
    measure: Callable[[Array, Array], Array],
    higher: bool,
    images: Pictures,
    truth: Pictures,
    mean_picture: Pictures | None,
) -> tuple[MetricValue, Array]:
    samples = range(images.shape[1])
    scores = np.mean([measure(images[:, sample], truth) for sample in samples], axis=0)
    baselines = {"grey_picture": float(measure(np.full_like(truth, 128), truth).mean())}
    if mean_picture is not None:
        repeated = np.broadcast_to(mean_picture, truth.shape)
        baselines["mean_picture"] = float(measure(repeated, truth).mean())
    return MetricValue(
        id=name,
        value=float(scores.mean()),
        interval=bootstrap_interval(scores) if len(scores) > 1 else None,
        chance=_permuted(measure, images[:, 0], truth),
        baselines=baselines,
        n_items=len(scores),
        higher_is_better=higher,
    ), scores


def _permuted(
    measure: Callable[[Array, Array], Array], images: Pictures, truth: Pictures
) -> float | None:
    """Score of the same pictures paired with other items' truths (seeded permutations)."""
    n_items = len(truth)
    if n_items < 2:
        return None
    generator = np.random.default_rng(0)
    total = 0.0
    for _ in range(CHANCE_PAIRINGS):
        order = generator.permutation(n_items)
        # A cyclic shift along a random order pairs no item with itself.
        total += float(measure(images[order], truth[np.roll(order, 1)]).mean())
    return total / CHANCE_PAIRINGS


def _identification(images: Pictures, truth: Pictures) -> tuple[MetricValue, Array | None]:
    name = "two-way-pixels/strict-v1"
    if len(truth) < 2:
        return _absent(name, True, "one item: nothing to tell it from"), None
    results = [two_way_identification(images[:, s], truth) for s in range(images.shape[1])]
    scores = np.mean([result.scores for result in results], axis=0)
    collapsed = any(result.collapsed for result in results)
    return MetricValue(
        id=name,
        value=float(scores.mean()),
        interval=bootstrap_interval(scores),
        chance=0.5,
        baselines={"grey_picture": 0.5, "mean_picture": 0.5},
        n_items=len(scores),
        higher_is_better=True,
        note="collapsed: most predictions are the same picture" if collapsed else "",
    ), scores
