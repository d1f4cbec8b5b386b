"""Identification among pictures of one category, beside what knowing the category alone gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from phosphene.pipelines.evaluation.permutation import exchange_labels, permutation_test
from phosphene.schemas import WithinCategory

__all__ = ["within_category"]

Array = np.ndarray[Any, Any]


def within_category(
    scores: Array,
    matrix: Array,
    kinds: Array,
    *,
    interval: Callable[[Array], tuple[float, float] | None],
    collapsed: bool = False,
    n_permutations: int = 1000,
    seed: int = 0,
) -> WithinCategory | None:
    """Return two-way identification within categories as a result carries it.

    Parameters
    ----------
    scores : ndarray of shape (n_items,)
        Among rivals of the same category; NaN for an item without any.
    matrix : ndarray of shape (n_pictures, n_pictures)
        Identification among all rivals of every pairing, from :func:`win_scores`.
    kinds : ndarray of shape (n_pictures,)
        Category of each picture.
    interval : callable
        Of these scores.

    Returns
    -------
    WithinCategory or None
        ``None`` where no category has two pictures.
    """
    known = int(np.isfinite(scores).sum())
    if not known or np.unique(kinds, return_counts=True)[1].max() < 2:
        return None
    drawn = exchange_labels(len(matrix), within=kinds, n_permutations=n_permutations, seed=seed)
    test = permutation_test(matrix, drawn)
    return WithinCategory(
        value=float(np.nanmean(scores)),
        interval=interval(scores),
        chance=0.5,
        n_items=known,
        collapsed=collapsed,
        shuffled=test.chance,
        p_value=test.p_value,
    )
