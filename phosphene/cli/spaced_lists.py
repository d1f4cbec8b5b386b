"""Flags that take several values after one another, as in ``--subjects 01 02 05 07``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand

from phosphene.errors import UsageError

__all__ = ["SpacedLists", "parse_numbers", "spaced", "split_values"]

RANGE = re.compile(r"(\d+)(?:\.\.\.?|-|:)(\d+)")


class SpacedLists(TyperCommand):
    """A command whose flags named in ``spaced_flags`` take all values up to the next flag."""

    spaced_flags: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _joined(args, self.spaced_flags))


def spaced(*flags: str) -> type[SpacedLists]:
    """Return the class of a command with such flags."""
    return type("SpacedListsCommand", (SpacedLists,), {"spaced_flags": flags})


def _joined(args: Iterable[str], flags: tuple[str, ...]) -> list[str]:
    """Return the arguments with the values of these flags joined by commas.

    Examples
    --------
    >>> _joined(["--subjects", "01", "02", "--output", "d"], ("--subjects",))
    ['--subjects', '01,02', '--output', 'd']
    """
    out: list[str] = []
    gathering = False
    for argument in args:
        if argument.startswith("--"):
            gathering = argument in flags
            out.append(argument)
        elif gathering and out[-1] in flags:
            out.append(argument)
        elif gathering:
            out[-1] = f"{out[-1]},{argument}"
        else:
            out.append(argument)
    return out


def split_values(given: Iterable[str] | None) -> list[str]:
    """Return the values of a flag that was given with commas, blanks or several times."""
    return [part for text in given or () for part in re.split(r"[,\s]+", text) if part]


def parse_numbers(given: Iterable[str] | None, *, flag: str) -> list[int] | None:
    """Return whole numbers of lists and ranges such as ``1..40``, ``1-3,7``; None where not given.

    Examples
    --------
    >>> parse_numbers(["1..3", "7"], flag="--sessions")
    [1, 2, 3, 7]
    """
    if not given:
        return None
    numbers: set[int] = set()
    for text in split_values(given):
        match = RANGE.fullmatch(text)
        if match and int(match[1]) <= int(match[2]):
            numbers |= set(range(int(match[1]), int(match[2]) + 1))
        elif text.isdigit():
            numbers.add(int(text))
        else:
            raise UsageError(
                f"`{flag}` has {text!r}",
                expected="whole numbers and ranges, such as 1..40, 1-3,7",
                remedy="correct it",
            )
    if not numbers or 0 in numbers:
        raise UsageError(f"`{flag}` names {sorted(numbers)}", "numbers from 1")
    return sorted(numbers)
