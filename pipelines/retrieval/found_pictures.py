"""Pictures that were found, read back from where the index says they lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from phosphene.data.pictures import Pictures, read_picture
from phosphene.errors import InputError
from phosphene.pipelines.retrieval.picture_shards import read_member

__all__ = ["found_pictures"]


def found_pictures(paths: Iterable[str]) -> list[Pictures | None]:
    """Return pictures (H, W, C) by path; ``None`` where one is elsewhere or cannot be read.

    Parameters
    ----------
    paths : iterable of str
        Files, or ``SHARD.tar#MEMBER``. Addresses on other machines are not followed.
    """
    known: dict[str, Pictures | None] = {}
    found = []
    for path in paths:
        if path not in known:
            known[path] = _read(path)
        found.append(known[path])
    return found


def _read(path: str) -> Pictures | None:
    try:
        if ".tar#" in path:
            return read_member(path)
        return read_picture(path) if path and Path(path).is_file() else None
    except (InputError, OSError):
        return None
