"""Progress bars and log lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["progress"]

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], *, label: str, total: int | None = None, enabled: bool | None = None
) -> Iterator[Item]:
    """Iterate with a bar on standard error; silent when that is not a terminal.

    Parameters
    ----------
    items : iterable
    label : str
        What is being done.
    total : int, optional
        Number of items, where ``len`` does not tell.
    enabled : bool, optional
        Force the bar on or off.
    """
    from tqdm import tqdm

    show = sys.stderr.isatty() if enabled is None else enabled
    yield from tqdm(items, desc=label, total=total, disable=not show, file=sys.stderr)
