"""What was shown: pictures by identifier, from a folder, a dataset or a saved output."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phosphene.data.pictures import PictureFiles, read_pictures
from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.predictions import bare_name
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.canonical import CanonicalDataset

__all__ = ["Shown", "find_categories", "read_categories", "read_shown"]


@dataclass(frozen=True)
class Shown:
    """The pictures that predictions are compared with.

    Attributes
    ----------
    name : str
        Of the dataset or folder.
    files : dict of str to Path
        By identifier, without a picture's ending.
    split : str
        Which trials' pictures these are; ``all`` for a folder.
    dataset : CanonicalDataset, optional
        Where they come from one.
    """

    name: str
    files: Mapping[str, Path]
    split: str = "all"
    dataset: CanonicalDataset | None = None


def read_shown(
    source: str | os.PathLike[str], *, split: str = "test", subjects: Sequence[str] = ()
) -> Shown:
    """Find the shown pictures of a folder or of one split of a canonical dataset.

    Parameters
    ----------
    source : path
        A folder of pictures named by identifier, or a dataset of ``phosphene prepare``.
    split : str
        Of a dataset.
    subjects : sequence of str
        Of a dataset: only pictures that these saw.

    Raises
    ------
    InputError
        If there are none, or the source is an array, which has no identifiers.
    """
    root = Path(source)
    if (root / "dataset.json").is_file():
        return _of_dataset(root, split, subjects)
    if not root.is_dir():
        raise InputError(
            f"the truth {root} is not a folder",
            expected="a folder of pictures named by identifier, or a dataset",
            remedy="write each picture of an array into a file named by its identifier: "
            "nothing is matched by order",
        )
    names, pictures = read_pictures(root)
    if names is None or not isinstance(pictures, PictureFiles):  # a folder always has names
        raise InputError(f"{root} has no names", "a folder of pictures")
    return Shown(root.name, dict(zip(names, pictures.files, strict=True)))


def _of_dataset(root: Path, split: str, subjects: Sequence[str]) -> Shown:
    from phosphene.data.canonical import CanonicalDataset

    dataset = CanonicalDataset.open(root)
    table = dataset.table
    if subjects:
        for subject in subjects:
            dataset.check_subject(subject)
        table = table[table["subject"].isin(list(subjects))]
    if split != "all":
        table = table[table["split"] == split]
    names = [name for name in table["stimulus_id"].unique().tolist() if name != UNKNOWN]
    if not names:
        raise InputError(
            f"the dataset {root} has no known pictures in the split {split!r}",
            expected="at least one trial whose picture is known",
            remedy="choose another --split, or mark test trials in the --trials table",
        )
    files = dataset.pictures(names).files
    return Shown(
        dataset.file.name,
        {bare_name(name): path for name, path in zip(names, files, strict=True)},
        split,
        dataset,
    )


def find_categories(shown: Shown, known: Mapping[str, str | None]) -> dict[str, str] | str:
    """Return the category of each shown picture without being told where it stands, or why not.

    Parameters
    ----------
    shown : Shown
        Of a dataset: a column ``concept`` or ``category`` of its trials or stimuli.
    known : mapping of str to str or None
        What a table beside the predictions says of pictures, by identifier.

    Returns
    -------
    dict of str to str, or str
        The reason where categories are not known.
    """
    if shown.dataset is not None:
        tables = (shown.dataset.table, shown.dataset.stimuli)
        for column in CONCEPT_COLUMNS:
            if any(column in table for table in tables):
                try:
                    return read_categories(column, shown)
                except InputError as error:
                    return f"{error.found}; --category takes a table"
    found = {name: kind for name, kind in known.items() if kind is not None}
    if found and set(shown.files) <= set(found):
        return found
    return "categories are not known: give --category"


def read_categories(source: str, shown: Shown) -> dict[str, str]:
    """Return the category of each shown picture, and of others that the table names.

    Parameters
    ----------
    source : str
        A table with a row per picture (``.tsv``, ``.csv``: its first column identifies the
        picture, the column ``category`` or else the second one says of what kind it is), or the
        name of a column of the dataset's trials or stimuli.
    shown : Shown

    Raises
    ------
    InputError
        If a picture has no category, or several.
    UsageError
        If there is neither such a file nor such a column.
    """
    pairs = _category_pairs(source, shown)
    categories: dict[str, str] = {}
    for name, category in pairs.drop_duplicates().itertuples(index=False):
        key = bare_name(str(name))
        if key in categories:
            raise InputError(
                f"{source} gives {key!r} the categories {categories[key]!r} and {category!r}",
                expected="one category per picture",
                remedy="correct the table",
            )
        categories[key] = str(category)
    categories = {name: kind for name, kind in categories.items() if kind != UNKNOWN}
    lacking = sorted(name for name in shown.files if name not in categories)
    if lacking:
        raise InputError(
            f"{source} has no category for {len(lacking)} of {len(shown.files)} shown pictures, "
            f"{lacking[0]!r} for example",
            expected="a category for every shown picture",
            remedy="complete the table",
        )
    return categories


def _category_pairs(source: str, shown: Shown) -> pd.DataFrame:
    """Return a table of two columns, identifier and category."""
    from phosphene.data.readers import read_trials

    if Path(source).is_file():
        table = read_trials(source)
        if len(table.columns) < 2:
            raise InputError(
                f"{source} has the single column {table.columns[0]!r}",
                expected="an identifier and a category in each row",
                remedy="add a column named category",
            )
        column = "category" if "category" in table else str(table.columns[1])
        return table[[str(table.columns[0]), column]]
    tables: list[pd.DataFrame] = []
    if shown.dataset is not None:
        tables = [shown.dataset.table, shown.dataset.stimuli]
    found = next((table for table in tables if source in table), None)
    if found is None:
        raise UsageError(
            f"`--category` is {source!r}, which is neither a file nor a column of the truth",
            expected="a table of identifiers and categories, or a column of a dataset",
            remedy="name a .tsv file, or give a dataset that has this column as --truth",
        )
    return found[["stimulus_id", source]]
