"""Which picture was made of which: predictions and truths matched by identifier."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from phosphene.data.pictures import PICTURE_SUFFIXES
from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.errors import InputError
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Item", "Predictions", "bare_name", "match_items", "read_predictions"]

SAMPLE = re.compile(r"^(?P<name>.+)_sample-(?P<number>\d+)$")
OWN_COLUMNS = ("item", "sample", "stimulus_id", "file")


@dataclass(frozen=True)
class Item:
    """One thing that was predicted, with one picture file per sample.

    Attributes
    ----------
    key : str
        Unique among the items.
    picture : str
        Identifier of what was shown; several items may share it (repetitions, subjects).
    """

    key: str
    picture: str
    files: tuple[Path, ...]
    subject: str | None = None
    category: str | None = None
    source_trials: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """What a folder of predictions holds.

    Attributes
    ----------
    root : Path
    items : tuple of Item
        Sorted by key, so that no listing order is left in them.
    own : bool
        Whether it is an output folder of ``reconstruct``.
    stored_truth : dict of str to Path
        Shown pictures by identifier, where an own output stored them.
    """

    root: Path
    items: tuple[Item, ...]
    own: bool
    stored_truth: Mapping[str, Path]


def read_predictions(
    folder: str | os.PathLike[str],
    known: Iterable[str] = (),
    *,
    suffixes: Sequence[str] = PICTURE_SUFFIXES,
) -> Predictions:
    """Read which pictures a folder holds, without opening them.

    An output folder of ``reconstruct`` is known by its ``trials.tsv``. In any other folder the
    name of a file without its ending is the identifier of what was shown, and
    ``NAME_sample-0.png``, ``NAME_sample-1.png`` are several samples of ``NAME``.

    Parameters
    ----------
    folder : path
        Searched with its subfolders.
    known : iterable of str
        Identifiers of what was shown: a name among them is taken whole, suffix and all.
    suffixes : sequence of str
        Endings of the files that are predictions.

    Raises
    ------
    InputError
        If there are no pictures, or two files for the same sample of the same identifier.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(
            f"there is no folder of predictions {root}",
            expected="a folder of pictures named by identifier, or an output of `reconstruct`",
            remedy="check the path",
        )
    if (root / "trials.tsv").is_file():
        return _read_own(root)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes)
    if not files:
        raise InputError(
            f"the folder {root} holds no {'pictures' if '.png' in suffixes else 'clips'}",
            expected=f"files ending in {', '.join(suffixes)}, named by identifier",
            remedy="check the path; convert pictures of another kind to PNG",
        )
    whole = {bare_name(name) for name in known}
    samples: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in files:
        name, number = _sample_of(path.stem, whole)
        if number in samples[name]:
            other = samples[name][number]
            raise InputError(
                f"the predictions {root} hold two pictures of {name!r}: "
                f"{other.relative_to(root)} and {path.relative_to(root)}",
                expected="one file per identifier, or NAME_sample-0, NAME_sample-1 for samples",
                remedy="remove or rename one of them",
            )
        samples[name][number] = path
    items = tuple(
        Item(name, name, tuple(samples[name][number] for number in sorted(samples[name])))
        for name in sorted(samples)
    )
    return Predictions(root, items, own=False, stored_truth={})


def _sample_of(stem: str, known: set[str]) -> tuple[str, int]:
    found = None if stem in known else SAMPLE.match(stem)
    return (stem, 0) if found is None else (found["name"], int(found["number"]))


def bare_name(name: str) -> str:
    """Return an identifier without a picture's ending: some tables name files."""
    return Path(name).stem if name.lower().endswith(PICTURE_SUFFIXES) else name


def _read_own(root: Path) -> Predictions:
    """Read the table of an output folder: its rows say what each file is of."""
    from phosphene.data.readers import read_trials

    table = read_trials(root / "trials.tsv")
    absent = [name for name in OWN_COLUMNS if name not in table]
    if absent:
        raise InputError(
            f"{root / 'trials.tsv'} has no column {', '.join(absent)}",
            expected="the table of an output of `reconstruct`",
            remedy="remove that table where the folder is another program's",
        )
    table = table.sort_values(["item", "sample"], key=lambda column: column.astype(int))
    items: list[Item] = []
    truth: dict[str, Path] = {}
    for number, rows in table.groupby("item", sort=False):
        first = rows.iloc[0]
        name = str(first["stimulus_id"])
        stored = str(first["truth"]) if "truth" in rows else UNKNOWN
        picture = f"item-{int(str(number)):06d}" if name == UNKNOWN else bare_name(name)
        if stored != UNKNOWN:
            truth.setdefault(picture, root / stored)
        trials = str(first["source_trials"]) if "source_trials" in rows else UNKNOWN
        kinds = [str(first[column]) for column in CONCEPT_COLUMNS if column in rows]
        items.append(
            Item(
                picture,
                picture,
                tuple(root / file for file in rows["file"]),
                subject=_subject_of(rows),
                category=kinds[0] if kinds and kinds[0] not in (UNKNOWN, "nan", "") else None,
                source_trials=() if trials == UNKNOWN else tuple(trials.split()),
            )
        )
    return Predictions(root, _unique_keys(items), own=True, stored_truth=truth)


def _subject_of(rows: pd.DataFrame) -> str | None:
    """Return the label in ``sub-01/...``; an output folder holds one subject's pictures."""
    found = re.match(r"(?:.*/)?sub-([A-Za-z0-9]+)[/_]", str(rows["file"].iloc[0]))
    return None if found is None else found[1]


def _unique_keys(items: Sequence[Item]) -> tuple[Item, ...]:
    """Name items by their picture; also by subject, trials or a count where that is not enough."""
    if len({item.subject for item in items}) > 1:
        items = [replace(item, key=f"sub-{item.subject} {item.key}") for item in items]
    counts = Counter(item.key for item in items)
    items = [
        replace(item, key=f"{item.key} {' '.join(item.source_trials)}".strip())
        if counts[item.key] > 1
        else item
        for item in items
    ]
    counts, seen = Counter(item.key for item in items), Counter[str]()
    named = []
    for item in items:
        if counts[item.key] > 1:
            seen[item.key] += 1
            item = replace(item, key=f"{item.key} ({seen[item.key]})")
        named.append(item)
    return tuple(sorted(named, key=lambda item: item.key))


def match_items(
    predictions: Predictions,
    truth: Mapping[str, Path],
    *,
    truth_name: str,
    allow_missing: bool = False,
) -> tuple[list[Item], int]:
    """Return the items whose truth is known, and how many shown pictures have no prediction.

    Parameters
    ----------
    predictions : Predictions
    truth : mapping of identifier to file
    truth_name : str
        For messages.
    allow_missing : bool
        Score what there is although some shown pictures have no prediction.

    Raises
    ------
    InputError
        If predictions are of pictures that were not shown, shown pictures have no prediction
        (unless ``allow_missing``), or items have different numbers of samples.
    """
    wanted = {item.picture for item in predictions.items}
    unknown, missing = sorted(wanted - set(truth)), sorted(set(truth) - wanted)
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(wanted)} predictions in {predictions.root} are of pictures "
            f"that {truth_name} does not hold, {unknown[0]!r} for example",
            expected=f"only identifiers of shown pictures, such as {min(truth, default='(none)')}",
            remedy="name each prediction by the picture that was shown, and remove other files",
        )
    if missing and not allow_missing:
        raise InputError(
            f"{len(missing)} of {len(truth)} shown pictures of {truth_name} have no prediction, "
            f"{missing[0]!r} for example",
            expected="a prediction of every shown picture: leaving some out flatters a score",
            remedy="add them, or score the others alone with --allow-missing, which is recorded",
        )
    counts = {len(item.files) for item in predictions.items}
    if len(counts) > 1:
        fewest = min(predictions.items, key=lambda item: len(item.files))
        raise InputError(
            f"the predictions in {predictions.root} have {min(counts)} to {max(counts)} samples",
            expected="the same number of samples of each picture",
            remedy=f"add or remove samples; {fewest.key!r} has {len(fewest.files)}",
        )
    return list(predictions.items), len(missing)
