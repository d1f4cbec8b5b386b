"""Chance and p-values by permuting which picture goes with which prediction.

What may be exchanged decides what a p-value means: pictures among one another, labels of trials
within a run or session, and time series only by shifts longer than the response or by blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError

__all__ = [
    "PermutationResult",
    "Permutations",
    "circular_shifts",
    "exchange_blocks",
    "exchange_labels",
    "p_value",
    "permutation_test",
    "permuted_statistic",
]

Array = np.ndarray[Any, Any]
LEAST_SECONDS = 20.0  # a shorter shift leaves the haemodynamic response to the same picture
TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Permutations:
    """Rows of positions: label ``k`` of a permuted set is label ``rows[p, k]`` of the real one.

    Attributes
    ----------
    rows : ndarray of shape (n_permutations, n)
    rule : str
        What was exchanged among what, in words.
    """

    rows: Array
    rule: str

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class PermutationResult:
    """An observed score beside what permuted pairings score.

    Attributes
    ----------
    observed : float
    chance : float
        Mean over permutations.
    p_value : float
        One-sided, ``(1 + b) / (1 + n)`` for b of n permutations that do as well.
    null : ndarray of shape (n_permutations,)
    rule : str
    """

    observed: float
    chance: float
    p_value: float
    null: Array
    rule: str


def exchange_labels(
    n: int,
    *,
    within: Sequence[Any] | Array | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Permutations:
    """Draw permutations of n labels, all of them or only within runs, sessions or categories.

    Parameters
    ----------
    n : int
    within : sequence of length n, optional
        A label is exchanged only with those that have the same value here.
    n_permutations, seed : int

    Raises
    ------
    UsageError
        If no label can be exchanged: every group has a single member.

    Examples
    --------
    >>> drawn = exchange_labels(4, within=["a", "a", "b", "b"], n_permutations=50)
    >>> bool((drawn.rows[:, :2] < 2).all())
    True
    """
    codes = np.zeros(n, dtype=int)
    if within is not None:
        codes = np.unique(np.asarray(within), return_inverse=True)[1]
    if len(codes) != n or n < 2 or np.bincount(codes).max() < 2:
        raise UsageError(
            f"{len(codes)} group labels for {n} items, with no two items in one group"
            if n > 1
            else f"{n} item to permute",
            expected="at least two items that may be exchanged",
            remedy="exchange within larger groups, such as sessions in place of runs",
        )
    generator = np.random.default_rng(seed)
    rows = np.empty((n_permutations, n), dtype=np.int64)
    home = np.argsort(codes, kind="stable")
    for start in range(0, n_permutations, 256):
        part = rows[start : start + 256]
        part[:, home] = np.argsort(codes + generator.random(part.shape), axis=1)
    return Permutations(rows, "labels exchanged" + ("" if within is None else " within groups"))


def circular_shifts(
    n: int,
    *,
    tr: float,
    runs: Sequence[Any] | Array | None = None,
    least_seconds: float = LEAST_SECONDS,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Permutations:
    """Draw circular shifts of a time series, each run by an amount of its own.

    Shifts keep the autocorrelation of the series, which exchanging samples would destroy.

    Parameters
    ----------
    n : int
        Samples; those of a run stand in the order of time.
    tr : float
        Seconds per sample.
    runs : sequence of length n, optional
        Nothing is shifted from one run into another.
    least_seconds : float
        Smallest shift, in both directions around the circle; at least 20 s.

    Raises
    ------
    UsageError
        If the smallest shift is below 20 s or ``tr`` is not positive.
    InputError
        If a run is too short for any such shift.
    """
    if tr <= 0 or least_seconds < LEAST_SECONDS:
        raise UsageError(
            f"shifts of {least_seconds:g} s at {tr:g} s per sample",
            expected=f"at least {LEAST_SECONDS:g} s, so that the response has decayed",
        )
    least = int(np.ceil(least_seconds / tr - 1e-9))
    generator = np.random.default_rng(seed)
    rows = np.empty((n_permutations, n), dtype=np.int64)
    for run, members in _runs(n, runs):
        length = len(members)
        if length < 2 * least:
            raise InputError(
                f"run {run} lasts {length * tr:g} s",
                expected=f"at least {2 * least * tr:g} s, to shift it by {least_seconds:g} s "
                "either way",
                remedy="exchange blocks or whole runs in place of shifting",
            )
        shift = generator.integers(least, length - least + 1, size=n_permutations)
        place = (np.arange(length)[None, :] + shift[:, None]) % length
        rows[:, members] = members[place]
    return Permutations(rows, f"each run shifted in a circle by at least {least_seconds:g} s")


def exchange_blocks(
    n: int,
    *,
    tr: float,
    block_seconds: float = LEAST_SECONDS,
    runs: Sequence[Any] | Array | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Permutations:
    """Draw orders of contiguous blocks of a time series, within each run.

    Parameters
    ----------
    n : int
    tr : float
        Seconds per sample.
    block_seconds : float
        At least 20 s; the last block of a run may be shorter.
    runs : sequence of length n, optional

    Raises
    ------
    UsageError
        If blocks are shorter than 20 s or ``tr`` is not positive.
    InputError
        If a run has fewer than two blocks.
    """
    if tr <= 0 or block_seconds < LEAST_SECONDS:
        raise UsageError(
            f"blocks of {block_seconds:g} s at {tr:g} s per sample",
            expected=f"at least {LEAST_SECONDS:g} s",
        )
    size = int(np.ceil(block_seconds / tr - 1e-9))
    generator = np.random.default_rng(seed)
    rows = np.empty((n_permutations, n), dtype=np.int64)
    for run, members in _runs(n, runs):
        block = np.arange(len(members)) // size
        if block[-1] < 1:
            raise InputError(
                f"run {run} lasts {len(members) * tr:g} s, one block of {block_seconds:g} s",
                expected="at least two blocks per run",
                remedy="exchange whole runs in place of blocks",
            )
        order = generator.random((n_permutations, block[-1] + 1))
        rows[:, members] = members[np.argsort(order[:, block], axis=1, kind="stable")]
    return Permutations(rows, f"blocks of {block_seconds:g} s exchanged within runs")


def _runs(n: int, runs: Sequence[Any] | Array | None) -> list[tuple[Any, Array]]:
    labels = np.zeros(n, dtype=int) if runs is None else np.asarray(runs)
    if len(labels) != n:
        raise UsageError(f"runs of {len(labels)} samples for {n}", "one label per sample")
    return [(run, np.flatnonzero(labels == run)) for run in dict.fromkeys(labels.tolist())]


def p_value(observed: float, null: Array, *, higher_is_better: bool = True) -> float:
    """Return ``(1 + b) / (1 + n)`` for b of n permutations at least as good as the real pairing.

    The real pairing counts as one of the permutations, so that p is never zero and the test is
    exact (Phipson and Smyth 2010, *Stat. Appl. Genet. Mol. Biol.* 9).

    Examples
    --------
    >>> import numpy as np
    >>> p_value(0.9, np.array([0.1, 0.5, 0.9]))
    0.5
    """
    slack = TIE * max(1.0, abs(observed))
    good = null >= observed - slack if higher_is_better else null <= observed + slack
    return float((1 + good.sum()) / (1 + len(null)))


def permutation_test(
    scores: Array, permutations: Permutations, *, higher_is_better: bool = True
) -> PermutationResult:
    """Test the pairing on the diagonal of a matrix of pair scores, all permutations at once.

    Parameters
    ----------
    scores : ndarray of shape (n, n)
        Score of prediction j (column) paired with truth i (row), from
        :mod:`phosphene.pipelines.evaluation.pairing`; NaN where undefined.
    permutations : Permutations
        Of the truths.
    """
    n = len(scores)
    if scores.shape != (n, n) or permutations.rows.shape[1] != n:
        raise InputError(
            f"pair scores of shape {scores.shape} and permutations of "
            f"{permutations.rows.shape[1]} items",
            expected="a square matrix with a row and a column per item",
        )
    own = np.diag(scores)
    if np.isnan(own).all():
        raise InputError("no pair has a score", "at least one item that could be compared")
    places = np.arange(n)
    null = np.concatenate(
        [
            np.nanmean(scores[permutations.rows[start : start + 256], places], axis=1)
            for start in range(0, len(permutations), 256)
        ]
    )
    observed = float(np.nanmean(own))
    return PermutationResult(
        observed,
        float(null.mean()),
        p_value(observed, null, higher_is_better=higher_is_better),
        null,
        permutations.rule,
    )


def permuted_statistic(
    statistic: Callable[[Array], float],
    permutations: Permutations,
    *,
    higher_is_better: bool = True,
) -> PermutationResult:
    """Test any statistic of the order of labels, one permutation at a time.

    Parameters
    ----------
    statistic : callable
        Takes positions (n,) in the labels and returns a score; the identity gives the observed.
    permutations : Permutations
    """
    observed = float(statistic(np.arange(permutations.rows.shape[1])))
    null = np.array([statistic(row) for row in permutations.rows], dtype=float)
    p = p_value(observed, null, higher_is_better=higher_is_better)
    return PermutationResult(observed, float(null.mean()), p, null, permutations.rule)
