"""Numbers of a run whose truth is known, each beside wrong pairings, grey and mean picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.errors import AssetError, InputError
from phosphene.pipelines.evaluation.block_pairs import block_size, blocks_of
from phosphene.pipelines.evaluation.pairing import average_by_picture, win_scores
from phosphene.pipelines.evaluation.permutation import exchange_labels, permutation_test
from phosphene.pipelines.evaluation.within import within_category
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    mean_squared_error,
    picture_features,
    pixel_correlation,
    structural_similarity,
)
from phosphene.pipelines.metrics.correlations import correlate
from phosphene.pipelines.metrics.features import FeatureNetwork
from phosphene.pipelines.metrics.identification import allowed_pairs, identify
from phosphene.schemas import (
    MetricsFile,
    MetricValue,
    PermutedPairing,
    Protocol,
)
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["known_categories", "score_pictures"]

Array = np.ndarray[Any, Any]
Measure = Callable[[Array, Array], Array]
BLOCK = 32
N_PERMUTATIONS, SEED = 1000, 0
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
    categories: Sequence[str] | None = None,
    n_seen_in_training: int = 0,
    networks: Mapping[str, str | FeatureNetwork] | None = None,
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
    categories : sequence of str, optional
        Of each item: adds identification among pictures of the same category.
    n_seen_in_training : int
        Items whose picture the model was trained on; the result carries the number.
    networks : mapping of str to str or FeatureNetwork, optional
        By whose features pictures are told apart too, by the name of the number.
    """
    names = range(len(truth)) if pictures is None else pictures
    # Content first: blocks and permutations are the same whatever the pictures are called.
    labels = np.array(
        [f"{picture_hash(shown)} {name}" for shown, name in zip(truth, names, strict=True)]
    )
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
    kinds = None if categories is None else np.asarray(categories)
    for name, network in {"two-way-pixels/strict-v1": None, **(networks or {})}.items():
        try:
            made, shown = _values(images, truth, network)
            value, scores = _identification(
                name, made, shown, labels, kinds, mean_known=mean_picture is not None
            )
        except AssetError as error:  # a package is missing
            value, scores = _absent(name, True, f"{error.found}, {error.expected}"), None
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


def known_categories(items: pd.DataFrame) -> list[str] | None:
    """Return the category of each item where a column of the trials says it for all of them."""
    for column in CONCEPT_COLUMNS:
        if column in items:
            found = items[column].astype(str).tolist()
            return None if {UNKNOWN, "nan", ""} & set(found) else found
    return None


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
    rivals = {"grey_picture": np.full_like(truth[:1], 128)}
    if mean_picture is not None:
        rivals["mean_picture"] = mean_picture[None]
    several = len(np.unique(labels)) > 1
    permuted = _permuted(measure, images, truth, labels, higher) if several else None
    return MetricValue(
        id=name,
        value=float(scores.mean()),
        interval=bootstrap_interval(scores, pictures=labels) if several else None,
        chance=None if permuted is None else permuted.mean,
        baselines={
            rival: float(_in_blocks(measure, np.broadcast_to(picture, truth.shape), truth).mean())
            for rival, picture in rivals.items()
        },
        n_items=len(scores),
        higher_is_better=higher,
        permuted=permuted,
    ), scores


def _permuted(
    measure: Measure, images: Pictures, truth: Pictures, labels: Array, higher: bool
) -> PermutedPairing:
    """Score the same reconstructions as if other pictures of their random block had been shown."""
    _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    n_pictures, n_samples = len(first), images.shape[1]
    size = block_size(len(images) * n_samples, (truth.shape[1], truth.shape[2]), network=False)
    blocks = blocks_of(n_pictures, size, seed=SEED)
    groups = np.zeros(n_pictures, dtype=int)
    for code, block in enumerate(blocks):
        groups[block] = code
    sums = np.full((n_pictures, n_pictures), np.nan)
    for block in blocks:
        sums[np.ix_(block, block)] = 0
    for row, picture in enumerate(codes):
        block = blocks[groups[picture]]
        shown = truth[first[block]]
        for made in images[row]:
            scores = _in_blocks(measure, np.broadcast_to(made, shown.shape), shown)
            sums[block, picture] += scores
    matrix = sums / (np.bincount(codes) * n_samples)
    test = permutation_test(
        matrix,
        exchange_labels(n_pictures, within=groups, n_permutations=N_PERMUTATIONS, seed=SEED),
        higher_is_better=higher,
    )
    return PermutedPairing(
        mean=float(np.nanmean(matrix[~np.eye(n_pictures, dtype=bool)])),
        p_value=test.p_value,
        n_permutations=len(test.null),
        rule="pictures exchanged" + (" within random blocks" if len(blocks) > 1 else ""),
    )


def _values(
    images: Pictures, truth: Pictures, network: str | FeatureNetwork | None
) -> tuple[list[Array], Array]:
    """Return what samples (n, d) each and truths (n, d) are compared by; pixels by default."""
    shown = [*np.moveaxis(images, 1, 0), truth]
    if network is None:
        *made, flat = (one.reshape(len(one), -1) / 255.0 for one in shown)
    else:
        *made, flat = (picture_features(one, network=network) for one in shown)
    return made, flat


def _identification(
    name: str,
    made: list[Array],
    shown: Array,
    labels: Array,
    kinds: Array | None,
    *,
    mean_known: bool,
) -> tuple[MetricValue, Array | None]:
    if len(np.unique(labels)) < 2:
        return _absent(name, True, "one picture: nothing to tell it from"), None
    tables = [correlate(shown, sample) for sample in made]

    def told(groups: Array | None) -> tuple[Array, bool]:
        among = allowed_pairs(len(shown), groups=groups, pictures=labels)
        found = [identify(t.matrix, among, copies=t.copies, tolerance=t.tolerance) for t in tables]
        scores = np.mean([one.scores for one in found], axis=0)
        return scores, any(one.collapsed for one in found)

    scores, collapsed = told(None)
    wins = [average_by_picture(table.matrix, labels, score=win_scores) for table in tables]
    matrix, first = np.mean([one for one, _ in wins], axis=0), wins[0][1]
    drawn = exchange_labels(len(matrix), n_permutations=N_PERMUTATIONS, seed=SEED)
    test = permutation_test(matrix, drawn)
    within = None
    if kinds is not None:
        inside, same = told(kinds)
        within = within_category(
            inside,
            matrix,
            kinds[first],
            interval=lambda known: bootstrap_interval(known, pictures=labels),
            collapsed=same,
            n_permutations=N_PERMUTATIONS,
            seed=SEED,
        )
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
        permuted=PermutedPairing(
            mean=float(matrix.mean()),
            p_value=test.p_value,
            n_permutations=len(test.null),
            rule="pictures exchanged",
        ),
        within_category=within,
    ), scores
