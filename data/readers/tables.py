"""Tables of trials from tab- or comma-separated text and parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_trials"]

KIND = "a table of trials (.tsv, .csv or .parquet)"
NUMBERS = ("onset", "duration", "trial", "repetition")
SEPARATORS = {".tsv": "\t", ".csv": ","}


def read_trials(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table with one row per trial.

    Text tables keep identifiers as they are written (``01`` stays ``01``); ``onset``,
    ``duration``, ``trial`` and ``repetition`` become numbers, ``n/a`` among them NaN.

    Parameters
    ----------
    path : path
        ``.tsv`` (as in BIDS), ``.csv`` or ``.parquet``.

    Raises
    ------
    InputError
        If the file is missing, of another kind, damaged, or separated by another character.
    """
    import pandas as pd

    file = existing_file(path, KIND)
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        with reading(file, KIND):
            return pd.read_parquet(file)
    if suffix not in SEPARATORS:
        raise InputError(f"{file} ends in {suffix!r}", expected=KIND, remedy="rename or convert it")
    with reading(file, KIND):
        if not file.read_text(encoding="utf-8-sig").strip():
            raise InputError(
                f"{file} is empty",
                expected="a header line and a row per trial",
                remedy="write one, or leave --trials away where nothing is known of the trials",
            )
        table = pd.read_csv(
            file,
            sep=SEPARATORS[suffix],
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            index_col=False,
            encoding="utf-8-sig",
        )
    _check_header(file, table)
    for name in NUMBERS:
        if name in table:
            table[name] = _numbers(table[name])
    return table


def _check_header(file: Path, table: pd.DataFrame) -> None:
    header = str(table.columns[0]) if len(table.columns) == 1 else ""
    other = next((mark for mark in (",", "\t", ";") if mark in header), None)
    if other is not None:
        raise InputError(
            f"{file} has a single column named {header!r}",
            expected="tabs between the columns of a .tsv, commas in a .csv",
            remedy="give the file the suffix that fits its separator, or save it again",
        )


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as numbers where all of it reads as such, else as it was."""
    import pandas as pd

    known = column.where(column != UNKNOWN)
    numbers: pd.Series[Any] = pd.to_numeric(known, errors="coerce")
    if numbers.isna().sum() > known.isna().sum():
        return column
    whole = numbers.notna().all() and bool((numbers % 1 == 0).all())
    return numbers.astype("int64") if whole else numbers
