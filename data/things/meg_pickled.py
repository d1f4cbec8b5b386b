"""THINGS-MEG as pickled dictionaries by concept and exemplar (ATM)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.data.things.cutting import Cut
from phosphene.data.things.forms import sensors_from
from phosphene.data.things.sample_attributes import CATCH, SampleAttributes, shown_table
from phosphene.errors import InputError
from phosphene.sensors import SensorInfo

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PICKLES", "read_pickled"]

Array = np.ndarray[Any, Any]
PICKLES = {"train": "preprocessed_meg_training.pkl", "test": "preprocessed_meg_zs_test.pkl"}
LARGEST_FIELD = 1e-6  # tesla; what is larger is no field of a brain


def read_pickled(
    folder: Path,
    attributes: SampleAttributes,
    label: str,
    images: str | os.PathLike[str] | None = None,
) -> Cut:
    """Read both pickles of a subject; rows are concepts and pictures in sorted order.

    Parameters
    ----------
    folder : Path
        With ``preprocessed_meg_training.pkl`` (concepts, exemplars, 1, C, T) and
        ``preprocessed_meg_zs_test.pkl`` (concepts, 1, repetitions, C, T).
    attributes : SampleAttributes
        Says which pictures there are: the pickles name none.
    label : str
    images : path, optional
        Kept for messages.

    Raises
    ------
    InputError
        If a file is missing, damaged or malicious, or has another number of pictures.
    """
    import pandas as pd

    shown = shown_table(attributes.of_subject(label), f"the table of subject {label}")
    shown = shown[shown["split"] != CATCH]
    tested = set(shown.loc[shown["split"] == "test", "concept"])
    blocks, tables = [], []
    info: SensorInfo | None = None
    for split, name in PICKLES.items():
        path = folder / name
        if not path.is_file():
            raise InputError(
                f"there is no file {path}",
                expected=f"{' and '.join(PICKLES.values())} in the folder of a subject",
                remedy="complete the download",
            )
        part = shown[shown["split"] == split]
        if split == "train":  # the pickle is zero-shot already
            part = part[~part["concept"].isin(tested)]
        data, names, times = _content(path)
        pictures = part.drop_duplicates("stimulus_id").sort_values(["concept", "stimulus_id"])
        table = _rows(pictures, data, split, path)
        found = sensors_from(names, times, data.shape[-1], path)
        if info is not None and found.hash != info.hash:
            raise InputError(
                f"{path} has {found.describe()}",
                expected=f"{info.describe()}, as {PICKLES['train']}",
                remedy="use files of one release",
            )
        info = found
        blocks.append(np.asarray(data.reshape(-1, *data.shape[-2:]), dtype=np.float32))
        tables.append(table)
    assert info is not None
    data = np.concatenate(blocks)
    raw = float(np.abs(data[: min(len(data), 256)]).max()) < LARGEST_FIELD
    unit = "T" if raw else "whitened"
    info = SensorInfo(info.ch_names, info.sfreq, info.tmin, unit=unit)
    return Cut(data, info, pd.concat(tables, ignore_index=True))


def _content(path: Path) -> tuple[Array, list[str], Any]:
    content = load_plain_pickle(path)
    missing = [
        key
        for key in ("meg_data", "ch_names")
        if not isinstance(content, dict) or key not in content
    ]
    if missing:
        raise InputError(
            f"{path} has no {' and no '.join(missing)}",
            expected="a dictionary with meg_data, ch_names and times",
            remedy="get the file again from its source",
        )
    data = np.asarray(content["meg_data"])
    if data.ndim != 5 or data.dtype.kind != "f":
        raise InputError(
            f"{path} holds meg_data of shape {data.shape} and type {data.dtype}",
            expected="numbers (concepts, pictures, repetitions, channels, samples)",
            remedy="get the file again from its source",
        )
    return data, [str(name) for name in content["ch_names"]], content.get("times")


def _rows(pictures: pd.DataFrame, data: Array, split: str, path: Path) -> pd.DataFrame:
    """Return a row per trial: concepts, their pictures, their repetitions."""
    counts = pictures.groupby("concept").size()
    if len(counts) != len(data) or (counts != data.shape[1]).any():
        raise InputError(
            f"{path} has {data.shape[0]} concepts with {data.shape[1]} pictures each",
            expected=f"{len(counts)} concepts with {', '.join(map(str, sorted(set(counts))))} "
            f"{split} pictures, as in the table of trials",
            remedy="use pickles and sample_attributes of one release",
        )
    table = pictures.loc[pictures.index.repeat(data.shape[2])].reset_index(drop=True)
    # The pickles do not say when a trial was.
    return table.assign(session="01", run="01")
