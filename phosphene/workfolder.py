"""Folders that take long to fill: built aside, shown when complete, resumable in between."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from phosphene.errors import UsageError
from phosphene.storage import TEMPORARY, write_error

__all__ = ["WorkFolder"]

PARTIAL = ".partial"


@dataclass(frozen=True)
class WorkFolder:
    """A result folder while it is being made.

    Everything lies in ``ROOT/.partial`` until :meth:`finish` moves it into ``ROOT``, the file
    ``last`` at the very end: a folder that has it is complete, one that has not can be resumed.

    Attributes
    ----------
    root : Path
    last : str
        Name of the file whose presence tells that the folder is complete.
    resumed : bool
        Whether interrupted work was found and is to be continued.
    finished : bool
        Whether the folder was complete already.
    """

    root: Path
    last: str
    resumed: bool = False
    finished: bool = False

    @property
    def partial(self) -> Path:
        """Where files lie until the work is complete."""
        return self.root / PARTIAL

    @classmethod
    def find(cls, folder: str | os.PathLike[str], *, last: str, resume: bool) -> WorkFolder:
        """Say what :meth:`open` would work on, without writing anything.

        Raises
        ------
        UsageError
            If the folder holds anything and ``resume`` is false, or if it holds something else
            than such work.
        """
        root = Path(folder)
        try:
            empty = not root.exists() or (root.is_dir() and not any(root.iterdir()))
            finished = (root / last).is_file()
            interrupted = not finished and (root / PARTIAL).is_dir()
        except OSError as error:
            raise write_error(root, error) from error
        if empty or (resume and (interrupted or finished)):
            return cls(root, last, resumed=interrupted, finished=finished)
        raise UsageError(
            f"the output {root} "
            + ("holds interrupted work" if interrupted else "exists and is not empty"),
            expected="a new or empty folder, so that nothing of yours is overwritten",
            remedy="go on with --resume" if interrupted else "choose another --output",
        )

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, last: str, resume: bool) -> WorkFolder:
        """Start a new folder, or go on with an interrupted one.

        Raises
        ------
        UsageError
            As :meth:`find`, and if the folder cannot be written.
        """
        work = cls.find(folder, last=last, resume=resume)
        try:
            if work.finished:
                shutil.rmtree(work.partial, ignore_errors=True)  # killed while clearing up
                return work
            work.partial.mkdir(parents=True, exist_ok=True)
            for path in list(work.root.iterdir()):  # killed while moving: take these back
                if path.name != PARTIAL:
                    path.replace(work.partial / path.name)
            for path in work.partial.rglob(f"{TEMPORARY}*"):  # killed while writing
                path.unlink()
        except OSError as error:
            raise write_error(work.root, error) from error
        return work

    def finish(self) -> Path:
        """Show everything under its final name, ``last`` at the end."""
        try:
            names = sorted(path.name for path in self.partial.iterdir())
            for name in sorted(names, key=lambda name: name == self.last):
                (self.partial / name).replace(self.root / name)
            shutil.rmtree(self.partial)
        except OSError as error:
            raise write_error(self.root, error) from error
        return self.root
