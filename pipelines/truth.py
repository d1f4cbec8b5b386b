"""The pictures that were shown, matched to output items by identifier."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phosphene.data.pictures import (
    PICTURE_SUFFIXES,
    Pictures,
    fit_pictures,
    picture_hash,
    read_pictures,
)
from phosphene.data.prepare import refuse_ambiguous_order
from phosphene.errors import InputError
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_truth"]


def read_truth(
    source: str | os.PathLike[str], items: pd.DataFrame, trials: pd.DataFrame, *, size: int
) -> tuple[Pictures, list[str]]:
    """Return one shown picture per output item, (n_items, size, size, 3), and its hash.

    Parameters
    ----------
    source : path
        A folder of pictures named by stimulus_id, or an array with one picture per item or per
        trial of the recording.
    items : DataFrame
        Output items.
    trials : DataFrame
        Trials of the recording; more than items when repetitions were averaged.
    size : int
        Side of the reconstructions.
    """
    names, pictures = read_pictures(source)
    if names is not None:
        rows = _by_identifier(names, items, Path(source))
    elif len(pictures) == len(items):
        refuse_ambiguous_order(items["stimulus_id"].tolist(), str(source))
        rows = list(range(len(items)))
    elif len(pictures) == len(trials):
        first = trials.reset_index(drop=True).groupby("stimulus_id").head(1)
        places = {name: row for row, name in zip(first.index, first["stimulus_id"], strict=True)}
        rows = [places[name] for name in items["stimulus_id"]]
    else:
        raise InputError(
            f"{source} holds {len(pictures)} pictures",
            expected=f"{len(items)}, one per output item"
            + (f", or {len(trials)}, one per trial" if len(trials) != len(items) else ""),
            remedy="give the pictures of exactly these trials, in their order",
        )
    fitted, hashes = [], []
    for row in rows:  # one at a time: shown pictures can be much larger than decoded ones
        pixels = pictures[row]
        channels = 1 if np.ptp(pixels, axis=-1).max() == 0 else 3
        one = fit_pictures([pixels], size=size, channels=channels)[0]
        fitted.append(np.repeat(one, 3, axis=-1) if channels == 1 else one)
        hashes.append(picture_hash(pixels))
    return np.stack(fitted), hashes


def _by_identifier(names: list[str], items: pd.DataFrame, folder: Path) -> list[int]:
    pictures = {name: row for row, name in enumerate(names)}
    wanted = items["stimulus_id"].tolist()
    if UNKNOWN in wanted:
        raise InputError(
            f"the folder {folder} cannot be matched: the recording does not say which stimulus "
            f"{wanted.count(UNKNOWN)} of {len(wanted)} items are of",
            expected="a stimulus_id for every trial",
            remedy="give a table with --trials, or the pictures as one array in trial order",
        )
    stems = [  # an id may be a file name; one such as 3.14 is none
        Path(name).stem if name.lower().endswith(PICTURE_SUFFIXES) else name for name in wanted
    ]
    missing = [name for name in stems if name not in pictures]
    if missing:
        raise InputError(
            f"the folder {folder} has no picture of {len(missing)} of {len(wanted)} items, "
            f"{missing[0]!r} for example",
            expected="a file <stimulus_id>.png for every item",
            remedy="add the missing files, or correct stimulus_id in the trials table",
        )
    return [pictures[name] for name in stems]
