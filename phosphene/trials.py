"""The trials table: one row per trial, the same columns everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OUTPUT_COLUMNS",
    "SPLITS",
    "TRIAL_COLUMNS",
    "UNKNOWN",
    "average_rows",
    "complete_trials",
    "trial_keys",
]

UNKNOWN = "n/a"  # the BIDS word for a value that is not known

TRIAL_COLUMNS = ("session", "run", "trial", "stimulus_id", "repetition", "split")
OUTPUT_COLUMNS = ("item", "sample", "file", "seed", "truth")  # what an output's table adds
SPLITS = ("train", "validation", "test")


def complete_trials(table: pd.DataFrame | None, n_trials: int) -> pd.DataFrame:
    """Return a trials table with every column, filling in what can be known.

    Parameters
    ----------
    table : DataFrame or None
        What the user gave. ``session`` and ``run`` default to ``"01"``, ``trial`` to the row
        number, ``stimulus_id`` to ``n/a`` (not known), ``repetition`` to the running count of
        that stimulus from 1, ``split`` to ``train``. Other columns are kept.
    n_trials : int
        Number of trials of the recording.

    Raises
    ------
    InputError
        If the length differs, a split is unknown, an identifier is empty, or two rows name the
        same trial. A picture in two splits is allowed here (an audit has to be able to see it);
        fitting on such a table is what is refused.
    """
    import pandas as pd

    table = pd.DataFrame(index=range(n_trials)) if table is None else table.reset_index(drop=True)
    if len(table) != n_trials:
        raise InputError(
            f"a trials table of {len(table)} rows for a recording of {n_trials} trials",
            expected="one row per trial, in the recording's order",
            remedy="drop the rows of trials that are not in the recording, or the other way round",
        )
    filled = table.copy()
    for column in ("session", "run"):
        filled[column] = _labels(table[column]) if column in table else "01"
    if "trial" not in table:
        filled["trial"] = np.arange(n_trials)
    if "stimulus_id" not in table and "stim_file" in table:  # as in BIDS events
        table = table.assign(stimulus_id=_labels(table["stim_file"]).map(_stem))
    known = "stimulus_id" in table
    filled["stimulus_id"] = _labels(table["stimulus_id"]) if known else UNKNOWN
    if "repetition" not in table:
        filled["repetition"] = filled.groupby("stimulus_id").cumcount() + 1 if known else 1
    filled["split"] = table["split"].astype(str) if "split" in table else "train"
    _check(filled)
    others = [name for name in filled.columns if name not in TRIAL_COLUMNS]
    return filled[[*TRIAL_COLUMNS, *others]]


def _stem(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or path


def _labels(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return identifiers as text; whole numbers lose a trailing ``.0``."""
    if column.isna().any():
        raise InputError(
            f"column {column.name!r} of the trials table is empty in "
            f"{int(column.isna().sum())} of {len(column)} rows",
            expected="an identifier in every row",
            remedy="fill the gaps, or write n/a for what is not known",
        )
    if column.dtype.kind == "f" and np.all(column == np.floor(column)):
        column = column.astype("int64")
    return column.astype(str)


def _check(table: pd.DataFrame) -> None:
    unknown = sorted(set(table["split"]) - set(SPLITS))
    if unknown:
        raise InputError(
            f"column 'split' of the trials table holds {', '.join(map(repr, unknown))}",
            expected=f"only {', '.join(SPLITS)}",
            remedy="correct the column, or leave it out to train on every trial",
        )
    keys = trial_keys(table)
    if keys.duplicated().any():
        raise InputError(
            f"the trials table names {keys[keys.duplicated()].iloc[0]} twice",
            expected="each session, run and trial once",
            remedy="number the trials of a run, or leave out the column trial",
        )


def trial_keys(table: pd.DataFrame) -> pd.Series[Any]:
    """Return ``ses-01_run-01_trial-000012`` for each row."""
    import pandas as pd

    names = [
        f"ses-{session}_run-{run}_trial-{int(trial):06d}"
        if str(trial).isdigit()
        else f"ses-{session}_run-{run}_trial-{trial}"
        for session, run, trial in zip(table["session"], table["run"], table["trial"], strict=True)
    ]
    return pd.Series(names, index=table.index, dtype=str)


def average_rows(
    table: pd.DataFrame, column: str
) -> tuple[list[np.ndarray[Any, Any]], pd.DataFrame]:
    """Group rows by ``column`` in order of first appearance.

    Returns
    -------
    rows : list of ndarray
        Row positions of each group.
    table : DataFrame
        One row per group; ``repetition`` is the number of trials and ``source_trials`` their
        keys, separated by spaces.
    """
    if (table[column] == UNKNOWN).any():
        raise UsageError(
            f"trials cannot be averaged by {column}: it is not known for "
            f"{int((table[column] == UNKNOWN).sum())} of {len(table)} trials",
            expected=f"a trials table with {column}",
            remedy="give one with --trials, or leave the trials as they are",
        )
    codes, _ = table[column].factorize()
    rows = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    keys = trial_keys(table).to_numpy()
    grouped = table.iloc[[index[0] for index in rows]].reset_index(drop=True).copy()
    grouped["repetition"] = [len(index) for index in rows]
    grouped["source_trials"] = [" ".join(keys[index]) for index in rows]
    return rows, grouped
