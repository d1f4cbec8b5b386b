"""What every form of NSD yields for one subject: trials, a way to read rows, pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.types import VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PART_COLUMNS", "RowPictures", "SubjectPart"]

Array = np.ndarray[Any, Any]
PART_COLUMNS = ("session", "run", "trial", "nsd_id", "shared", "count")


@dataclass(frozen=True, eq=False)
class SubjectPart:
    """One subject as a form holds it.

    Attributes
    ----------
    trials : DataFrame
        ``session`` (int, 0 where averaged), ``run`` (text), ``trial`` (of the experiment, from
        1), ``nsd_id`` (row of the stimulus brick from 0, -1 where the form does not say),
        ``shared`` (whether every subject saw it) and ``count`` (trials averaged in a row).
    read : callable
        Rows of ``trials`` to (n_rows, n_voxels) float32.
    space : VoxelSpace
    picture : callable, optional
        A row of ``trials`` to the picture shown, uint8 (H, W, C).
    averaged : bool
        Whether a row is the mean of a picture's trials.
    facts : dict of str to str
        What the form tells about itself, for the record.
    """

    trials: pd.DataFrame
    read: Callable[[Array], Array]
    space: VoxelSpace
    picture: Callable[[int], Pictures] | None
    averaged: bool
    facts: dict[str, str]


class RowPictures(Sequence[Pictures]):
    """Pictures of some rows, each read when it is asked for."""

    def __init__(self, rows: Sequence[int], read: Callable[[int], Pictures]) -> None:
        self.rows, self.read_row = list(rows), read

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Pictures: ...
    @overload
    def __getitem__(self, index: slice) -> RowPictures: ...
    def __getitem__(self, index: int | slice) -> Pictures | RowPictures:
        if isinstance(index, slice):
            return RowPictures(self.rows[index], self.read_row)
        return self.read_row(self.rows[index])
