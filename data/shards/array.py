"""A subject's recording in shards, as an array whose rows are read when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.shards.streaming import ShardSource
from phosphene.errors import InputError
from phosphene.schemas import Shard

__all__ = ["ShardArray"]

Array = np.ndarray[Any, Any]


class ShardArray:
    """Stands in for the memory map of a recording.

    Parameters
    ----------
    source : ShardSource
    dataset : CanonicalDataset
        That the shards were made of.
    subject : str
    keep : int
        Shards that are held at a time. Rows that are asked for shard by shard, as
        :meth:`shuffled` gives them, read each shard once.
    """

    def __init__(
        self, source: ShardSource, dataset: CanonicalDataset, subject: str, *, keep: int = 4
    ) -> None:
        stored = source.index.subjects.get(subject)
        geometry = dataset.file.subjects[dataset.check_subject(subject)]
        if stored is None or stored.content_hash != geometry.content_hash:
            raise InputError(
                f"the shards at {source.place} "
                + (
                    f"do not have subject {subject}"
                    if stored is None
                    else f"hold another recording of subject {subject}"
                ),
                expected=f"those of the dataset {dataset.root}",
                remedy="write them again with `phosphene prepare shards`",
            )
        self.shape, self.dtype = stored.shape, np.dtype(stored.dtype)
        self.ndim = len(self.shape)
        self.source, self.keep, self.reads = source, keep, 0
        self.shards = source.chosen([subject], None)
        self._shard = np.full(self.shape[0], -1)
        self._place = np.zeros(self.shape[0], dtype=np.int64)
        for number, shard in enumerate(self.shards):
            self._shard[shard.rows] = number
            self._place[shard.rows] = np.arange(len(shard.rows))
        self._held: OrderedDict[int, Array] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Array:
        rows = np.arange(self.shape[0])[which]
        flat = np.atleast_1d(rows)
        found = np.empty((len(flat), *self.shape[1:]), dtype=self.dtype)
        numbers = self._shard[flat]
        if (numbers < 0).any():
            raise InputError(
                f"the shards at {self.source.place} lack trial {int(flat[numbers < 0][0])}",
                expected="shards of the whole recording",
                remedy="write them again with `phosphene prepare shards`",
            )
        for number in np.unique(numbers):
            mine = numbers == number
            found[mine] = self._read(int(number))[self._place[flat[mine]]]
        return found if np.ndim(rows) else found[0]

    def shuffled(self, rows: Array, seed: int, parts: int = 1) -> list[Array]:
        """Return places among ``rows`` in an order that reads each shard once, in ``parts``.

        Each part has shards of its own: windows of some of them, shuffled together.

        Parameters
        ----------
        rows : ndarray of int
        seed : int
        parts : int
            Number of processes.
        """
        draw = np.random.default_rng(seed)
        numbers = self._shard[rows]
        order = draw.permutation(np.unique(numbers))
        found = []
        for part in range(parts):
            mine = order[part::parts]
            windows = [
                draw.permutation(np.flatnonzero(np.isin(numbers, mine[start : start + self.keep])))
                for start in range(0, len(mine), self.keep)
            ]
            found.append(np.concatenate([np.zeros(0, dtype=np.int64), *windows]))
        return found

    def _read(self, number: int) -> Array:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        shard = self.shards[number]
        values = np.empty((len(shard.rows), *self.shape[1:]), dtype=self.dtype)
        for place, trial in enumerate(self.source.read(shard)):
            values[place] = _checked(trial, shard, place, self.shape[1:])
        self.reads += 1
        self._held[number] = values
        while len(self._held) > self.keep:
            self._held.popitem(last=False)
        return values


def _checked(trial: dict[str, Any], shard: Shard, place: int, shape: tuple[int, ...]) -> Array:
    value: Array = trial["data"]
    if value.shape != shape or trial["facts"].get("row") != shard.rows[place]:
        raise InputError(
            f"trial {trial['key']} of {shard.file} has the shape {value.shape} and row "
            f"{trial['facts'].get('row')}",
            expected=f"{shape} and row {shard.rows[place]}, as shards.json says",
            remedy="write the shards again",
        )
    return value
