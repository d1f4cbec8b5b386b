"""Events of a run: which of them are trials, what was shown, and what else has to be modelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.bold.runs import BoldRun
from phosphene.data.readers.tables import read_trials
from phosphene.errors import InputError, UsageError
from phosphene.trials import SPLITS, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunEvents", "mark_tests", "read_run_events"]

STIMULUS = (
    "stimulus_id", "stim_file", "stimulus", "stimulus_name", "stim_id", "stim_name", "image",
    "image_id", "image_name", "image_file", "picture", "stim",
)  # fmt: skip
KIND = ("trial_type", "event_type")
REST = ("rest", "fixation", "fix", "baseline", "blank", "null", "iti", "isi", "n/a", "")
MILLISECONDS = 20.0  # onsets this many times beyond the run were not meant as seconds


@dataclass(frozen=True, eq=False)
class RunEvents:
    """Events of one run.

    Attributes
    ----------
    trials : DataFrame
        A row per trial in the order of onsets: ``onset``, ``duration`` (seconds), ``kind``,
        ``stimulus_id``, and the columns of the table.
    others : DataFrame
        ``onset``, ``duration``, ``trial_type`` of events that are no trials and evoke responses.
    named : bool
        Whether stimuli are named, rather than conditions alone.
    notes : list of str
    """

    trials: pd.DataFrame
    others: pd.DataFrame
    named: bool
    notes: list[str]


def read_run_events(
    run: BoldRun,
    n_volumes: int,
    *,
    column: str | None = None,
    kinds: list[str] | None = None,
) -> RunEvents:
    """Read and sort the events of a run.

    Parameters
    ----------
    run : BoldRun
    n_volumes : int
        Of the series: events beyond its end have no response.
    column : str, optional
        That names what was shown; by default the first usual one, else the kind of event.
    kinds : list of str, optional
        Kinds of events that are trials; by default all with a stimulus.

    Raises
    ------
    InputError
        If onsets are missing or not in seconds, or there is no trial.
    """
    table = read_trials(run.events)
    for name in ("onset", "duration"):
        if name not in table or table[name].dtype.kind not in "if":
            raise InputError(
                f"{run.events} has no column {name!r} of numbers",
                expected="onset and duration in seconds",
                remedy="add it, as BIDS asks for",
            )
    length = n_volumes * run.tr
    if len(table) and float(table["onset"].max()) > MILLISECONDS * length:
        raise InputError(
            f"{run.events} has onsets up to {table['onset'].max():g} in a run of {length:g} s",
            expected="onsets in seconds",
            remedy="divide them by 1000 if they are milliseconds",
        )
    table = table.sort_values("onset", kind="stable").reset_index(drop=True)
    table["duration"] = table["duration"].fillna(0.0).clip(lower=0.0)
    kind = _column(table, KIND)
    what, named = _stimuli(table, kind, column, str(run.events))
    is_rest = kind.str.lower().isin(REST)
    chosen = what.ne(UNKNOWN) & ~(is_rest & kind.ne(UNKNOWN))
    if kinds is not None:
        absent = sorted(set(kinds) - set(kind))
        if len(absent) == len(kinds):
            raise InputError(
                f"{run.events} has no event of the kind {', '.join(absent)}",
                expected=f"among {', '.join(sorted(set(kind)))}",
                remedy="correct --trial-type",
            )
        chosen &= kind.isin(kinds)
    late = chosen & (table["onset"] > length - run.tr)
    notes = [f"{int(late.sum())} trials after the last volume left out"] if late.any() else []
    chosen &= ~late
    if not chosen.any():
        raise InputError(
            f"{run.events} has no trial",
            expected="events with a stimulus (stimulus_id or stim_file), or named by trial_type",
            remedy="name the column with --stimulus-column, or the kind with --trial-type",
        )
    other = ~chosen & ~late & ~is_rest
    others = table.loc[other, ["onset", "duration"]].assign(trial_type=kind[other])
    trials = table.loc[chosen].assign(kind=kind[chosen], stimulus_id=what[chosen])
    return RunEvents(trials.reset_index(drop=True), others.reset_index(drop=True), named, notes)


def _column(table: pd.DataFrame, names: tuple[str, ...]) -> pd.Series[Any]:
    import pandas as pd

    for name in names:
        if name in table:
            return table[name].fillna(UNKNOWN).astype(str)
    return pd.Series([UNKNOWN] * len(table), index=table.index, dtype=str)


def _stimuli(
    table: pd.DataFrame, kind: pd.Series[Any], column: str | None, source: str
) -> tuple[pd.Series[Any], bool]:
    """Return what every event showed, and whether pictures (not conditions) are named."""
    if column is not None and column not in table:
        raise UsageError(
            f"{source} has no column {column!r}",
            expected=f"one of {', '.join(table.columns)}",
            remedy="correct --stimulus-column",
        )
    for name in (column,) if column else STIMULUS:
        if name in table:
            values = table[name].fillna(UNKNOWN).astype(str)
            if (values != UNKNOWN).any():
                return _plain(values), name not in KIND
    return kind, False


def _plain(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return paths of files as their names without ending, or whole where these are not unique."""
    stems = values.map(lambda value: value if value == UNKNOWN else _stem(value))
    if stems.nunique() == values.nunique():
        return stems
    whole = values.str.replace("\\", "/").str.replace("/", "_")
    return whole.where(values != UNKNOWN, UNKNOWN)


def _stem(value: str) -> str:
    name = value.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    is_file = bool(dot) and ending.isalnum() and not ending.isdigit() and len(ending) <= 5
    return stem if is_file else name


def mark_tests(table: pd.DataFrame, rules: list[str] | None) -> tuple[pd.DataFrame, str]:
    """Return the trials with their split, and in words how it was found.

    Parameters
    ----------
    table : DataFrame
        Trials of all runs.
    rules : list of str, optional
        ``COLUMN=PATTERN`` of test trials, such as ``session=perceptionTest*``.

    Raises
    ------
    UsageError
        If a rule has another form, or names no column.
    InputError
        If it finds no trial, or all.
    """
    from fnmatch import fnmatchcase

    if rules:
        test = np.zeros(len(table), dtype=bool)
        for rule in rules:
            name, equals, pattern = rule.partition("=")
            if not equals or name not in table:
                raise UsageError(
                    f"`--test` is {rule!r}",
                    expected="COLUMN=PATTERN with a column among "
                    f"{', '.join(map(str, table.columns))}",
                    remedy="for example --test trial_type=test or --test 'session=test*'",
                )
            test |= table[name].astype(str).map(lambda v, p=pattern: fnmatchcase(v, p)).to_numpy()
        if not test.any() or test.all():
            raise InputError(
                f"--test {' '.join(rules)} is true of {int(test.sum())} of {len(table)} trials",
                expected="some of them",
                remedy="correct the pattern",
            )
        return table.assign(split=np.where(test, "test", "train")), " ".join(rules)
    for name in ("split", *KIND):
        if name in table and set(table[name].astype(str)) <= set(SPLITS):
            return table.assign(split=table[name].astype(str)), f"column {name}"
    return table.assign(split="train"), ""
