"""Errors a user can meet, each with the exit code of the command line.

Every message answers three questions: what was found, what was expected, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AssetError",
    "InputError",
    "PhospheneError",
    "UsageError",
    "check_option",
]


class PhospheneError(Exception):
    """Base of all errors raised on purpose (exit code 1).

    Parameters
    ----------
    found : str
        What was found, naming the file, argument or value.
    expected : str
        What would have been right.
    remedy : str
        What the user can do about it.
    """

    exit_code = 1

    def __init__(self, found: str, expected: str = "", remedy: str = "") -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if remedy:
            parts.append(f"What to do: {remedy.rstrip('.')}.")
        super().__init__("\n".join(parts))


class UsageError(PhospheneError):
    """A command or function was called with arguments that cannot go together."""

    exit_code = 2


class InputError(PhospheneError):
    """A file, an array or a recording is not what it has to be."""

    exit_code = 3


class AssetError(PhospheneError):
    """A model, dataset or optional package that is needed is not there."""

    exit_code = 4


def check_option(name: str, value: str, allowed: Iterable[str]) -> str:
    """Return ``value`` when it is allowed, else raise one error that lists the choices.

    Examples
    --------
    >>> check_option("modality", "fmri", ["fmri", "eeg"])
    'fmri'
    """
    choices = sorted(allowed)
    if value in choices:
        return value
    close = get_close_matches(value, choices, n=1)
    raise UsageError(
        f"`{name}` is {value!r}",
        expected=f"one of {', '.join(choices) or '(none is available)'}",
        remedy=f"did you mean {close[0]!r}?" if close else "choose one of these",
    )
