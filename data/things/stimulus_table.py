"""``image_metadata.npy`` of THINGS-EEG2: which picture is which row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.errors import InputError

__all__ = ["StimulusTable", "read_stimulus_table"]

NAME = "image_metadata.npy"
KEYS = ("train_img_concepts", "train_img_files", "test_img_concepts", "test_img_files")


@dataclass(frozen=True)
class StimulusTable:
    """Pictures of one split of the set, in the order of the recordings' rows.

    Attributes
    ----------
    concepts : tuple of str
        Without the number in front, which both splits count from 1.
    files : tuple of str
        Such as ``aardvark_01b.jpg``.
    """

    concepts: tuple[str, ...]
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the pictures: their files without suffix."""
        return tuple(file.rpartition(".")[0] or file for file in self.files)


def read_stimulus_table(source: Path) -> tuple[StimulusTable, StimulusTable]:
    """Return the training and the test pictures.

    Parameters
    ----------
    source : Path
        The file, or a folder that holds it somewhere (or beside it).

    Raises
    ------
    InputError
        If it is missing or damaged, names a picture twice, or its rows are not in the order of
        sorted folders, in which the pre-processed recordings are.
    """
    path = _find(source)
    content = load_plain_pickle(path)
    if not isinstance(content, dict) or any(key not in content for key in KEYS):
        raise InputError(
            f"{path} is no stimulus table of THINGS-EEG2",
            expected=f"a dictionary with {', '.join(KEYS)}",
            remedy="copy image_metadata.npy from the image set (OSF y63gw)",
        )
    tables = []
    for split in ("train", "test"):
        concepts = [str(name) for name in content[f"{split}_img_concepts"]]
        files = [str(name) for name in content[f"{split}_img_files"]]
        if len(concepts) != len(files) or len(set(files)) != len(files) or not files:
            raise InputError(
                f"{path} has {len(files)} files, {len(set(files))} of them different, and "
                f"{len(concepts)} concepts of the {split} split",
                expected="one concept per file, each file once",
                remedy="copy the file again from the image set (OSF y63gw)",
            )
        order = list(zip(concepts, files, strict=True))
        if order != sorted(order):
            raise InputError(
                f"the {split} pictures of {path} are not in sorted order",
                expected="rows in the order of sorted folders and files, as in the official file",
                remedy="copy the file again from the image set (OSF y63gw)",
            )
        tables.append(StimulusTable(tuple(map(plain_concept, concepts)), tuple(files)))
    train, test = tables
    shared = sorted(set(train.concepts) & set(test.concepts))
    if shared:
        raise InputError(
            f"{path} has concepts in both splits, {shared[0]!r} for example",
            expected="test concepts that training never shows",
            remedy="copy the file again from the image set (OSF y63gw)",
        )
    return train, test


def plain_concept(name: str) -> str:
    """Return a concept without the number of its folder.

    Examples
    --------
    >>> plain_concept("00001_aircraft_carrier")
    'aircraft_carrier'
    """
    number, _, rest = name.partition("_")
    return rest if number.isdigit() and rest else name


def _find(source: Path) -> Path:
    if source.is_file():
        return source
    found = sorted(source.rglob(NAME)) or sorted(source.parent.glob(f"*/{NAME}"))
    beside = source.parent / NAME
    if not found and beside.is_file():
        found = [beside]
    if not found:
        raise InputError(
            f"there is no {NAME} in {source} or beside it",
            expected="the stimulus table of the image set, which says which picture is which row",
            remedy="copy it there from the image set (OSF y63gw), or name it with --table",
        )
    return found[0]
