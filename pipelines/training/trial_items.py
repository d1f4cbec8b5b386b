"""What a network is trained on: items of trials, and their voxels wherever there is room for them.

An item is a trial, or a picture with all of its trials; what of them is averaged is decided step by
step. Voxels stay in the memory map of the dataset unless they fit in a budget: then they are read
once, normalised, and held on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.shards.array import ShardArray
from phosphene.data.shards.streaming import ShardSource
from phosphene.seeds import item_seed
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Items",
    "LazyRows",
    "VoxelStore",
    "choose_repetitions",
    "lazy_recording",
    "make_items",
    "trials_of",
]

Array = np.ndarray[Any, Any]
Repetitions = Literal["single", "average", "random"]
BLOCK = 1024


class LazyRows:
    """Some rows of an array, read when they are asked for; stands in for an array of them.

    Parameters
    ----------
    data : ndarray of shape (n, ...)
        Memory-mapped.
    rows : ndarray of int of shape (m,)
    """

    def __init__(self, data: Array, rows: Array) -> None:
        self._data, self._rows = data, rows
        self.shape, self.dtype = (len(rows), *data.shape[1:]), data.dtype
        self.ndim = data.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: Any) -> Array:
        found: Array = self._data[self._rows[which]]
        return found

    def shuffled(self, which: Array, seed: int, parts: int) -> list[Array] | None:
        """Return places among ``which`` in the order of shards; nothing without shards."""
        if not isinstance(self._data, ShardArray):
            return None
        return self._data.shuffled(self._rows[which], seed, parts)


def lazy_recording(
    dataset: CanonicalDataset, subject: str, wanted: Array, shards: ShardSource | None = None
) -> Recording:
    """Return some trials of a subject as a recording that reads its rows when asked.

    Parameters
    ----------
    dataset : CanonicalDataset
    subject : str
    wanted : ndarray of bool (n_trials,)
        Of all trials of the subject; at least one is true.
    shards : ShardSource, optional
        Where rows are read from, in place of the memory map; the dataset then needs no
        recordings.
    """
    rows = np.flatnonzero(wanted)
    if shards is not None:
        data: Any = ShardArray(shards, dataset, subject)
        space = dataset.space(subject) if dataset.file.modality == "fmri" else None
        trials, modality, info = trials_of(dataset, subject), dataset.file.modality, None
    else:
        whole = dataset.recording(subject)
        data, space, info, modality = whole.data, whole.space, whole.info, whole.modality
        trials = whole.trials
    lazy: Any = LazyRows(data, rows)
    return Recording(lazy, modality, subject, trials.iloc[rows].reset_index(drop=True), space, info)


def trials_of(dataset: CanonicalDataset, subject: str) -> pd.DataFrame:
    """Return the trials table of one subject, without its recording."""
    table = dataset.table[dataset.table["subject"] == dataset.check_subject(subject)]
    return table.drop(columns="subject").reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Items:
    """Items of several subjects, as tensors of equal length.

    Attributes
    ----------
    subject : Tensor of shape (n,)
        Number of the subject in ``subjects``.
    rows : Tensor of shape (n, r)
        Trials of the item in its subject's recording, filled up with -1.
    target : Tensor of shape (n,)
        Row of the item's picture among the targets.
    subjects : tuple of str
    """

    subject: Tensor
    rows: Tensor
    target: Tensor
    subjects: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.subject)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, as the engine takes them."""
        return {"subject": self.subject, "rows": self.rows, "target": self.target}


def make_items(
    recordings: Sequence[Recording], pictures: Mapping[str, int], repetitions: Repetitions
) -> Items:
    """Return the items of several recordings.

    Parameters
    ----------
    recordings : sequence of Recording
        One per subject.
    pictures : mapping of str to int
        Row of each stimulus among the targets.
    repetitions : {"single", "average", "random"}
        ``single`` makes each trial an item, the others each picture of a subject.
    """
    subject, rows, target = [], [], []
    for number, recording in enumerate(recordings):
        names = recording.trials["stimulus_id"].to_numpy()
        places = np.array([pictures[name] for name in names])
        if repetitions == "single":
            groups = [np.array([row]) for row in range(len(names))]
        else:
            order = np.argsort(places, kind="stable")
            groups = np.split(order, np.flatnonzero(np.diff(places[order])) + 1)
        subject += [number] * len(groups)
        rows += groups
        target += [places[group[0]] for group in groups]
    most = max(len(group) for group in rows)
    table = np.full((len(rows), most), -1)
    for place, group in enumerate(rows):
        table[place, : len(group)] = group
    return Items(
        torch.tensor(subject),
        torch.from_numpy(table),
        torch.tensor(np.array(target)),
        tuple(one.subject for one in recordings),
    )


class VoxelStore:
    """Normalised voxels of several subjects.

    Parameters
    ----------
    recordings : sequence of Recording
    preprocessor : Preprocessor
        Fitted for these subjects.
    device : str or torch.device
    budget : int
        Bytes that may be held; what does not fit is read from the memory map at each step.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        preprocessor: Preprocessor,
        *,
        device: str | torch.device = "cpu",
        budget: int = 2**32,
    ) -> None:
        self.device = torch.device(device)
        self._data: dict[str, Any] = {one.subject: one.data for one in recordings}
        self._scaling = {
            one.subject: tuple(torch.from_numpy(part) for part in preprocessor.scaling(one.subject))
            for one in recordings
        }
        self.held: dict[str, Tensor] = {}
        for one in recordings:
            size = len(one) * int(np.prod(one.data.shape[1:])) * 4
            if size <= budget:
                budget -= size
                blocks = [self._read(one.subject, part) for part in _blocks(len(one))]
                self.held[one.subject] = torch.cat(blocks)

    def _read(self, subject: str, rows: Array) -> Tensor:
        mean, inverse = self._scaling[subject]
        data = np.asarray(self._data[subject][rows], dtype=np.float32)
        values = (torch.from_numpy(data) - mean) * inverse
        return values.flatten(1).to(self.device)

    def take(self, subject: str, rows: Tensor) -> Tensor:
        """Return trials (n, n_voxels) of a subject, normalised, on the device."""
        if subject in self.held:
            return self.held[subject][rows.to(self.device)]
        return self._read(subject, rows.cpu().numpy())

    def mean(self, subject: str, rows: Tensor, kept: Tensor) -> Tensor:
        """Return means of trials.

        Parameters
        ----------
        subject : str
        rows : Tensor of shape (n, r)
            Trials of each item; -1 where there are fewer.
        kept : Tensor of bool of shape (n, r)
            Which of them are averaged: at least one.
        """
        item, _ = kept.nonzero(as_tuple=True)
        values = self.take(subject, rows[kept])
        total = values.new_zeros(len(rows), values.shape[1])
        total = total.index_add(0, item.to(values.device), values)
        return total / kept.sum(1, keepdim=True).to(total)

    def order(self, items: Items, seed: int, epoch: int, parts: int) -> Tensor | None:
        """Return items in an order that reads every shard once; none where nothing is streamed.

        Item k is for process ``k % parts``, and no two processes need the same shard.

        Parameters
        ----------
        items : Items
            Of single trials.
        seed, epoch : int
        parts : int
            Number of processes.
        """
        streams = {
            label: data
            for label, data in self._data.items()
            if label not in self.held and isinstance(data, LazyRows)
        }
        shares: list[list[Array]] = [[] for _ in range(parts)]
        streamed = False
        for number, label in enumerate(items.subjects):
            mine = (items.subject == number).nonzero()[:, 0].cpu().numpy()
            drawn = item_seed(seed, "order", f"sub-{label}", epoch)
            rows = items.rows[mine, 0].cpu().numpy()
            places = streams[label].shuffled(rows, drawn, parts) if label in streams else None
            streamed |= places is not None
            if places is None:
                mixed = np.random.default_rng(drawn).permutation(len(mine))
                places = [mixed[part::parts] for part in range(parts)]
            for share, one in zip(shares, places, strict=True):
                share.append(mine[one])
        if not streamed:
            return None
        draw = np.random.default_rng(item_seed(seed, "order", "subjects", epoch))
        return torch.from_numpy(_interleaved([_merged(share, draw) for share in shares]))

    def blocks(self, subject: str, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all trials of a subject in blocks, with the targets that belong to them.

        Parameters
        ----------
        subject : str
        targets : Tensor of shape (n_trials, ...)
        """
        for rows in _blocks(len(self._data[subject])):
            part = torch.from_numpy(rows)
            yield self.take(subject, part).cpu(), targets[part]


def _merged(sequences: Sequence[Array], draw: np.random.Generator) -> Array:
    """Shuffle sequences into one another; each keeps its order."""
    labels = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    draw.shuffle(labels)
    found = np.empty(len(labels), dtype=np.int64)
    for number, one in enumerate(sequences):
        found[labels == number] = one
    return found


def _interleaved(shares: Sequence[Array]) -> Array:
    """Take one of each in turn; what the longer ones have left comes last."""
    least = min(map(len, shares))
    turns = np.stack([one[:least] for one in shares], axis=1).reshape(-1)
    return np.concatenate([turns, *(one[least:] for one in shares)])


def _blocks(n: int) -> Iterator[Array]:
    for start in range(0, n, BLOCK):
        yield np.arange(start, min(n, start + BLOCK))


def choose_repetitions(
    rows: Tensor, repetitions: Repetitions, generator: torch.Generator
) -> Tensor:
    """Return which trials of each item are averaged in this step, (n, r).

    ``average`` takes all, ``random`` a random number of them, at least one.
    """
    there = rows >= 0
    if repetitions != "random" or rows.shape[1] == 1:
        return there
    noise = torch.rand(rows.shape, generator=generator, device=rows.device)
    noise = noise.masked_fill(~there, torch.inf)
    count = there.sum(1)
    wanted = torch.rand(len(rows), generator=generator, device=rows.device) * count
    place = noise.argsort(1).argsort(1)
    return there & (place <= wanted.floor().clamp_max(count - 1)[:, None])
