"""Files that are missing or damaged: whatever a parser raises becomes one clear message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phosphene.errors import InputError, PhospheneError

__all__ = ["existing_file", "existing_folder", "reading"]


def existing_file(path: str | os.PathLike[str], kind: str) -> Path:
    """Return the path when a file is there.

    Raises
    ------
    InputError
        If there is nothing, or a folder.
    """
    found = Path(path)
    with reading(found, kind):
        if found.is_dir():
            raise InputError(
                f"{found} is a folder",
                expected=kind,
                remedy="name a file in it",
            )
        if not found.is_file():
            raise InputError(
                f"there is no file {found}", expected=kind, remedy="check the path and its spelling"
            )
    return found


def existing_folder(path: str | os.PathLike[str], kind: str, *, flag: str = "--source") -> Path:
    """Return the path when a folder is there.

    Parameters
    ----------
    path : path
    kind : str
        What it should hold.
    flag : str
        What names it.

    Raises
    ------
    InputError
        If there is nothing, or a file.
    """
    found = Path(path)
    with reading(found, kind):
        if not found.is_dir():
            there = f"{found} is a file" if found.is_file() else f"there is no folder {found}"
            raise InputError(there, expected=kind, remedy=f"check {flag}, which names a folder")
    return found


@contextmanager
def reading(source: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Turn every error of the block into an :class:`InputError` about ``source``.

    Parsers of binary and XML formats raise whatever a damaged file makes them stumble over
    (``struct.error``, ``zlib.error``, ``EOFError``, ``KeyError``, ``AssertionError``, ...), and
    headers that declare enormous sizes end in ``MemoryError``; hence ``Exception``.

    Parameters
    ----------
    source : path
        The file that is being read.
    kind : str
        What it should be, as in "a NIfTI file".
    """
    try:
        yield
    except PhospheneError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{source} declares more data than this machine's memory can hold",
            expected=f"{kind} whose selected columns fit into memory",
            remedy="check the header, split the file into runs, or select fewer voxels with --roi",
        ) from error
    except PermissionError as error:
        raise InputError(
            f"{source} may not be read",
            expected=f"{kind} with read permission",
            remedy="check the permissions of the file and its folder",
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{source} is damaged or is not {kind} "
            f"({type(error).__name__}{': ' if reason else ''}{reason})",
            expected=f"{kind}, complete",
            remedy="copy it again from its source; `gzip -t FILE` tests a compressed one",
        ) from error
