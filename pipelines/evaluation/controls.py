"""A score and its controls: one row each, with interval and p-value, or the reason for absence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.control_pictures import Absent
from phosphene.pipelines.evaluation.control_table import Control, Controls
from phosphene.pipelines.evaluation.pairing import (
    average_by_picture,
    correlation_matrix,
    pair_scores,
    win_scores,
)
from phosphene.pipelines.evaluation.permutation import exchange_labels, permutation_test
from phosphene.pipelines.evaluation.statistics import picture_means, sign_flip_test
from phosphene.pipelines.metrics.intervals import bootstrap_interval

__all__ = [
    "control_identification",
    "control_score",
]

Array = np.ndarray[Any, Any]
Measure = Callable[[Array, Array], Array]


def control_score(
    metric: str,
    measure: Measure,
    predicted: Pictures,
    truth: Pictures,
    rivals: Mapping[str, Pictures | Absent],
    *,
    pictures: Sequence[Any] | Array | None = None,
    categories: Sequence[Any] | Array | None = None,
    higher_is_better: bool = True,
    n_permutations: int = 1000,
    most_pairs: int = 250_000,
    seed: int = 0,
) -> Controls:
    """Score pairs of pictures beside wrong pairings and rivals.

    Parameters
    ----------
    metric : str
        Its name.
    measure : callable
        Takes predictions and truths (n, ...) and returns n scores, each of one pair.
    predicted, truth : ndarray of shape (n, ...)
    rivals : mapping of str to ndarray of shape (n, ...) or Absent
        From :mod:`phosphene.pipelines.evaluation.control_pictures`.
    pictures, categories : sequence of length n, optional
        Which picture each item is of, and of which kind it is.
    most_pairs : int
        With more pairs than this, pairings are permuted among a random part of the pictures.
    """
    scores = measure(predicted, truth)
    names = np.arange(len(truth)) if pictures is None else np.asarray(pictures)
    part = _part(names, most_pairs, seed)
    matrix, first = average_by_picture(
        pair_scores(
            measure, predicted[part], truth[part], most_pairs=max(most_pairs, len(part) ** 2)
        ),
        names[part],
    )
    kinds = None if categories is None else np.asarray(categories)[part][first]
    told = "" if len(part) == len(names) else f"; among {len(matrix)} random pictures"
    rows = _pairing_rows(scores, names, matrix, kinds, told, higher_is_better, n_permutations, seed)
    rows += [_rival(name, rival, measure, scores, truth, names) for name, rival in rivals.items()]
    return Controls(metric, tuple(rows))


def control_identification(
    metric: str,
    predicted: Array,
    truth: Array,
    rivals: Mapping[str, Array | Absent],
    *,
    pictures: Sequence[Any] | Array | None = None,
    categories: Sequence[Any] | Array | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Controls:
    """Score two-way identification by features beside wrong pairings and rivals.

    Parameters
    ----------
    metric : str
    predicted, truth : ndarray of shape (n, ...)
        Features of predictions and of what was shown; see :func:`picture_features`.
    rivals : mapping of str to ndarray of shape (n, ...) or Absent
        Features of the rivals' pictures.
    pictures, categories : sequence of length n, optional
        Adds identification within categories, which decoding the category alone leaves at .5.
    """
    names = np.arange(len(truth)) if pictures is None else np.asarray(pictures)

    def wins(features: Array, groups: Array | None = None) -> tuple[Array, Array]:
        similarity = correlation_matrix(features, truth)
        return average_by_picture(similarity, names, score=win_scores, groups=groups)

    matrix, first = wins(predicted)
    labels, scores = names[first], np.diag(matrix)
    kinds = None if categories is None else np.asarray(categories)
    own = None if kinds is None else kinds[first]
    rows = _pairing_rows(scores, labels, matrix, own, "", True, n_permutations, seed)
    rows.append(_within(wins, predicted, kinds, first, n_permutations, seed))
    for name, rival in rivals.items():
        if isinstance(rival, Absent):
            rows.append(Control(name, None, note=rival.reason))
        else:
            rows.append(_against(name, np.diag(wins(rival)[0]), scores, labels))
    return Controls(metric, tuple(rows))


def _part(names: Array, most_pairs: int, seed: int) -> Array:
    """Return the rows of as many random pictures as pairs can be scored of."""
    if len(names) ** 2 <= most_pairs:
        return np.arange(len(names))
    kept: list[int] = []
    distinct = np.random.default_rng(seed).permutation(np.unique(names))
    for name in distinct:
        rows = np.flatnonzero(names == name).tolist()
        if (len(kept) + len(rows)) ** 2 > most_pairs and len(kept) > 1:
            break
        kept += rows
    return np.sort(np.array(kept))


def _pairing_rows(
    scores: Array,
    names: Array,
    matrix: Array,
    kinds: Array | None,
    told: str,
    higher_is_better: bool,
    n_permutations: int,
    seed: int,
) -> list[Control]:
    """Return ``decoded``, ``permuted_pairing`` and ``within_class_shuffle``."""
    means, _ = picture_means(scores, names)
    interval = bootstrap_interval(means) if len(means) > 1 else None
    value, n = float(means.mean()), len(means)
    if len(matrix) < 2:
        alone = Absent("one picture: there is no other to pair it with")
        return [
            Control("decoded", value, interval, None, n),
            Control("permuted_pairing", None, note=alone.reason),
            Control("within_class_shuffle", None, note=alone.reason),
        ]
    drawn = exchange_labels(len(matrix), n_permutations=n_permutations, seed=seed)
    test = permutation_test(matrix, drawn, higher_is_better=higher_is_better)
    rows = [
        Control("decoded", value, interval, test.p_value, n),
        Control(
            "permuted_pairing", test.chance, None, None, len(matrix), f"chance: {test.rule}{told}"
        ),
    ]
    if kinds is None:
        return [*rows, Control("within_class_shuffle", None, note="categories are not known")]
    if np.unique(kinds, return_counts=True)[1].max() < 2:
        reason = "no category has two pictures"
        return [*rows, Control("within_class_shuffle", None, note=reason)]
    drawn = exchange_labels(len(matrix), within=kinds, n_permutations=n_permutations, seed=seed)
    inside = permutation_test(matrix, drawn, higher_is_better=higher_is_better)
    note = f"what the category alone gives; p of more than that{told}"
    return [
        *rows,
        Control("within_class_shuffle", inside.chance, None, inside.p_value, len(matrix), note),
    ]


def _within(
    wins: Callable[..., tuple[Array, Array]],
    predicted: Array,
    kinds: Array | None,
    first: Array,
    n_permutations: int,
    seed: int,
) -> Control:
    name = "within_category"
    if kinds is None:
        return Control(name, None, note="categories are not known")
    own = kinds[first]
    if np.unique(own, return_counts=True)[1].max() < 2:
        return Control(name, None, note="no category has two pictures")
    matrix, _ = wins(predicted, kinds)
    drawn = exchange_labels(len(matrix), within=own, n_permutations=n_permutations, seed=seed)
    test = permutation_test(matrix, drawn)
    scores = np.diag(matrix)
    kept = scores[~np.isnan(scores)]
    interval = bootstrap_interval(kept) if len(kept) > 1 else None
    note = "among pictures of the same category, chance .5"
    return Control(name, test.observed, interval, test.p_value, len(kept), note)


def _rival(
    name: str,
    rival: Pictures | Absent,
    measure: Measure,
    scores: Array,
    truth: Pictures,
    names: Array,
) -> Control:
    if isinstance(rival, Absent):
        return Control(name, None, note=rival.reason)
    if rival.shape != truth.shape:
        raise InputError(
            f"the control {name} of shape {rival.shape}", f"{truth.shape}, as the truth has"
        )
    return _against(name, measure(rival, truth), scores, names)


def _against(name: str, theirs: Array, ours: Array, names: Array) -> Control:
    means, _ = picture_means(theirs, names)
    interval = bootstrap_interval(means) if len(means) > 1 else None
    _, p = sign_flip_test(ours, theirs, pictures=names)
    return Control(name, float(means.mean()), interval, p, len(means))
