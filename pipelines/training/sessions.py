"""Which sessions of a dataset a training is limited to."""

from __future__ import annotations

from collections.abc import Sequence

from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError, UsageError

__all__ = ["find_sessions"]


def find_sessions(
    dataset: CanonicalDataset, subjects: Sequence[str], wanted: Sequence[str]
) -> tuple[str, ...]:
    """Return the labels of sessions, as the dataset writes them.

    ``1`` and ``ses-01`` find the session ``01``, ``1..5`` and ``1,2,4`` several of them.

    Parameters
    ----------
    dataset : CanonicalDataset
    subjects : sequence of str
    wanted : sequence of str
        Empty for all sessions; then the result is empty too.

    Raises
    ------
    UsageError
        If a range is none.
    InputError
        If the subjects have no such session.
    """
    table = dataset.table
    known = sorted(set(table.loc[table["subject"].isin(list(subjects)), "session"]))
    found: dict[str, None] = {}
    for word in wanted:
        for one in word.split(","):
            found |= dict.fromkeys(_expand(one.strip(), known, dataset, subjects))
    return tuple(found)


def _expand(
    word: str, known: Sequence[str], dataset: CanonicalDataset, subjects: Sequence[str]
) -> list[str]:
    if word in known:
        return [word]
    first, dots, last = word.removeprefix("ses-").partition("..")
    if dots and not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise UsageError(
            f"`sessions` names {word!r}",
            expected="a session, several with commas, or a range such as 1..5",
            remedy="write --sessions 1 --sessions 2, or --sessions 1..2",
        )
    numbers = range(int(first), int(last) + 1) if dots else [first]
    return [_label(str(number), known, dataset, subjects) for number in numbers]


def _label(
    word: str, known: Sequence[str], dataset: CanonicalDataset, subjects: Sequence[str]
) -> str:
    alike = [label for label in known if _plain(label) == _plain(word)]
    if len(alike) != 1:
        told = ", ".join(known[:6]) + (f", ... {known[-1]}" if len(known) > 6 else "")
        raise InputError(
            f"{dataset.root} has no trials of {', '.join(subjects)} in the sessions {word}",
            expected=f"sessions among {told}",
            remedy="choose other subjects or sessions",
        )
    return alike[0]


def _plain(label: str) -> str:
    label = label.removeprefix("ses-")
    return str(int(label)) if label.isdecimal() else label
