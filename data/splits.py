"""Folds that hold out whole pictures, concepts, sessions, runs or stretches of time, never trials.

They follow scikit-learn's splitter protocol (``split(X, y, groups)`` and ``get_n_splits``), so
they work wherever scikit-learn takes ``cv=``, without needing it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import InputError, UsageError, check_option
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONCEPT_COLUMNS", "BlockFolds", "GroupFolds", "group_table"]

Array = np.ndarray[Any, Any]
Fold = tuple[Array, Array]
CONCEPT_COLUMNS = ("concept", "category")  # the first of them that a trials table has
KINDS = ("concept", "picture", "run", "session")


def group_table(trials: pd.DataFrame, by: str | Sequence[str]) -> pd.DataFrame:
    """Return the groups of every trial, one column per kind.

    Parameters
    ----------
    trials : DataFrame of n rows
        As :func:`phosphene.trials.complete_trials` returns it.
    by : {"picture", "concept", "session", "run"} or a sequence of these
        A run is known by its session and its own label; a concept by the column ``concept`` or
        ``category``.

    Raises
    ------
    InputError
        If the table does not say which group a trial belongs to.
    """
    import pandas as pd

    found: dict[str, list[str]] = {}
    for kind in [by] if isinstance(by, str) else list(by):
        check_option("by", kind, KINDS)
        columns = {"picture": ["stimulus_id"], "session": ["session"], "run": ["session", "run"]}
        named = [name for name in CONCEPT_COLUMNS if name in trials][:1]
        parts = columns.get(kind, named)
        if not parts:
            raise InputError(
                f"the trials table has no column {' or '.join(CONCEPT_COLUMNS)}",
                expected="the concept of every trial",
                remedy="add that column, or hold out pictures",
            )
        text = trials[parts].astype(str)
        unknown = int((text == UNKNOWN).any(axis=1).sum()) + int(trials[parts].isna().sum().sum())
        if unknown:
            raise InputError(
                f"the {kind} of {unknown} of {len(trials)} trials is not known",
                expected="a label in every row",
                remedy="fill the gaps, or leave these trials out",
            )
        found[kind] = text.agg(" ".join, axis=1).tolist()
    return pd.DataFrame(found)


class GroupFolds:
    """Hold out whole groups: train and test of a fold never share one.

    Parameters
    ----------
    n_folds : int or None
        ``None`` leaves out every group in turn.
    trials : DataFrame, optional
        Where the groups are read from; otherwise they are given to :meth:`split`.
    by : str or sequence of str
        What train and test must not share, see :func:`group_table`. With several kinds, groups
        that hang together (a session with all its pictures, the other sessions of these, and so
        on) go into one fold.
    purge : bool
        With several kinds: hold out groups of the first kind, and drop training trials that share
        one of the others with the test, in place of keeping together all that hangs together.
    seed : int
        Of the order in which groups are dealt; folds are of nearly equal size.

    Examples
    --------
    >>> import numpy as np
    >>> folds = GroupFolds(2)
    >>> pictures = np.array(["a", "b", "a", "c", "b", "d"])
    >>> all(
    ...     not set(pictures[train]) & set(pictures[test])
    ...     for train, test in folds.split(pictures, groups=pictures)
    ... )
    True
    """

    def __init__(
        self,
        n_folds: int | None = 5,
        *,
        trials: pd.DataFrame | None = None,
        by: str | Sequence[str] = "picture",
        purge: bool = False,
        seed: int = 0,
    ) -> None:
        if n_folds is not None and n_folds < 2:
            raise UsageError(f"`n_folds` is {n_folds}", "2 or more, or None to leave one out")
        self.n_folds, self.purge, self.seed = n_folds, purge, seed
        self.by = (by,) if isinstance(by, str) else tuple(by)
        self._codes = None if trials is None else _codes(group_table(trials, self.by))

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield ``(train, test)`` row numbers, each in increasing order.

        Parameters
        ----------
        X, y : sized of length n
            Only counted.
        groups : array of shape (n,) or (n, n_kinds), optional
            Group of every row, in place of those of the trials.

        Raises
        ------
        UsageError
            If there are no groups, or another number of rows.
        InputError
            If there are too few separate groups, or a fold would have nothing to train on.
        """
        codes = self._groups(X, groups)
        fold_of = self._deal(codes)
        for fold in range(int(fold_of.max()) + 1):
            test = fold_of == fold
            train = ~test
            if self.purge:
                for column in codes.T:
                    train &= ~np.isin(column, column[test])
            if not train.any():
                raise InputError(
                    f"fold {fold + 1} leaves nothing to train on: every trial shares a "
                    f"{' or '.join(self.by)} with the test",
                    expected="groups that can be told apart",
                    remedy="hold out fewer kinds of groups at a time",
                )
            yield np.flatnonzero(train), np.flatnonzero(test)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        if self.n_folds is not None:
            return self.n_folds
        return int(self._deal(self._groups(X, groups)).max()) + 1

    def describe(self) -> str:
        """Return the rule in words, for a protocol."""
        kinds = " and ".join(self.by)
        folds = "leave-one-out" if self.n_folds is None else f"{self.n_folds} folds"
        purged = ", training trials that share the latter dropped" if self.purge else ""
        return f"{folds} by {kinds}, seed {self.seed}{purged}"

    def _groups(self, X: Any, groups: Any) -> Array:
        codes = self._codes if groups is None else _codes(groups)
        if codes is None:
            raise UsageError(
                "folds without groups",
                expected="`trials` when they are made, or `groups` when they are asked for",
                remedy="give groups=trials['stimulus_id'] to hold out pictures",
            )
        if X is not None and len(codes) != _rows(X):
            raise UsageError(f"groups of {len(codes)} rows for {_rows(X)}", "one per row")
        return codes

    def _deal(self, codes: Array) -> Array:
        """Return the fold of every row: largest groups first, each to the smallest fold."""
        units = codes[:, 0] if self.purge else _components(codes)
        _, units, sizes = np.unique(units, return_inverse=True, return_counts=True)
        wanted = len(sizes) if self.n_folds is None else self.n_folds
        if len(sizes) < max(wanted, 2):
            raise InputError(
                f"{len(sizes)} separate groups of {' and '.join(self.by)}"
                + (" (others share a group with one of these)" if codes.shape[1] > 1 else ""),
                expected=f"at least {max(wanted, 2)}, one per fold",
                remedy="hold out another kind of group, use fewer folds, or drop training trials "
                "that share a group with the test (purge=True)",
            )
        if self.n_folds is None:
            return np.asarray(units)
        order = np.random.default_rng(self.seed).permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        fold_of_unit, filled = np.empty(len(sizes), dtype=int), np.zeros(wanted)
        for unit in order:
            fold_of_unit[unit] = filled.argmin()
            filled[fold_of_unit[unit]] += sizes[unit]
        return np.asarray(fold_of_unit[units])


class BlockFolds:
    """Hold out contiguous stretches of a time series, with a gap on both sides.

    Samples of one run that are close in time look alike whatever was shown; only a gap longer
    than the response makes training and test independent.

    Parameters
    ----------
    n_folds : int
    gap : int
        Samples between training and test that belong to neither.
    runs : sequence of length n, optional
        Run of every sample: stretches are cut within runs, and gaps end with a run. Samples of a
        run have to stand in the order of time.

    Examples
    --------
    >>> for train, test in BlockFolds(3, gap=1).split(range(6)):
    ...     print(train.tolist(), test.tolist())
    [3, 4, 5] [0, 1]
    [0, 5] [2, 3]
    [0, 1, 2] [4, 5]
    """

    def __init__(self, n_folds: int = 5, *, gap: int, runs: Sequence[Any] | None = None) -> None:
        if n_folds < 2 or gap < 0:
            raise UsageError(
                f"`n_folds` is {n_folds} and `gap` is {gap}", "at least 2 folds, a gap of 0 or more"
            )
        self.n_folds, self.gap = n_folds, gap
        self._runs = None if runs is None else np.asarray(runs)

    @classmethod
    def seconds(
        cls, n_folds: int, *, gap: float, tr: float, runs: Sequence[Any] | None = None
    ) -> BlockFolds:
        """Return folds whose gap is at least so many seconds, at ``tr`` seconds per sample."""
        if tr <= 0:
            raise UsageError(f"`tr` is {tr}", expected="seconds per sample, above 0")
        return cls(n_folds, gap=int(np.ceil(gap / tr - 1e-9)), runs=runs)

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield ``(train, test)`` row numbers; ``groups`` are runs, in place of those given.

        Raises
        ------
        UsageError
            If neither rows nor runs say how long the series is.
        InputError
            If a run is too short, or a fold would have nothing to train on.
        """
        runs = self._runs if groups is None else np.asarray(groups)
        if runs is None and X is None:
            raise UsageError("a time series of unknown length", "`X` or `groups`")
        if runs is None:
            runs = np.zeros(_rows(X), dtype=int)
        elif X is not None and len(runs) != _rows(X):
            raise UsageError(f"runs of {len(runs)} samples for {_rows(X)}", "one per sample")
        pieces = []
        for run in dict.fromkeys(runs.tolist()):
            rows = np.flatnonzero(runs == run)
            if len(rows) < self.n_folds:
                raise InputError(
                    f"run {run} has {len(rows)} samples for {self.n_folds} stretches",
                    expected="at least one sample per fold",
                    remedy="use fewer folds, or hold out whole runs",
                )
            pieces.append((rows, np.array_split(np.arange(len(rows)), self.n_folds)))
        for fold in range(self.n_folds):
            train, test = [], []
            for rows, parts in pieces:
                start, end = parts[fold][0], parts[fold][-1]
                place = np.arange(len(rows))
                test.append(rows[parts[fold]])
                train.append(rows[(place < start - self.gap) | (place > end + self.gap)])
            if not sum(map(len, train)):
                raise InputError(
                    f"gaps of {self.gap} samples leave nothing to train on in fold {fold + 1}",
                    expected="runs much longer than the gap",
                    remedy="use a shorter gap or other runs",
                )
            yield np.sort(np.concatenate(train)), np.sort(np.concatenate(test))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return self.n_folds


def _rows(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _codes(groups: Any) -> Array:
    """Return groups (n,) or (n, k) as whole numbers (n, k), numbered within each column."""
    table = np.asarray(groups, dtype=object)
    columns = table[:, None] if table.ndim == 1 else table
    return np.stack(
        [np.unique(column.astype(str), return_inverse=True)[1] for column in columns.T], axis=1
    )


def _components(codes: Array) -> Array:
    """Return for every row which rows it hangs together with through any kind of group."""
    if codes.shape[1] == 1:
        return np.asarray(codes[:, 0])
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n, offsets = len(codes), np.cumsum([0, *(codes.max(axis=0) + 1)])
    nodes = n + codes + offsets[:-1]  # rows and groups are nodes of one graph
    rows = np.repeat(np.arange(n), codes.shape[1])
    size = n + int(offsets[-1])
    graph = coo_matrix((np.ones(len(rows)), (rows, nodes.ravel())), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:n])
