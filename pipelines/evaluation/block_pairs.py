"""Scores of wrong pairs for metrics that look at one pair of pictures, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.pipelines.evaluation.exchange import Exchange
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.progress import progress

__all__ = ["BlockPairs", "block_size", "blocks_of"]

Array = np.ndarray[Any, Any]
LEAST, MOST = 4, 64  # pictures in a block
PIXELS = 5e8  # of all pairs that a metric of pixels is given, about a minute of SSIM
MOST_PAIRS = 16_000


def block_size(n_items: int, side: tuple[int, int], *, network: bool) -> int:
    """Return how many pictures to exchange among one another, by what scoring a pair costs.

    Parameters
    ----------
    n_items : int
        Items times samples.
    side : (int, int)
        Height and width that pairs are compared at.
    network : bool
        Whether each pair goes through a network.
    """
    pairs = 0 if network else min(MOST_PAIRS, PIXELS / (side[0] * side[1]))
    return int(np.clip(pairs // max(1, n_items), LEAST, MOST))


def blocks_of(n_pictures: int, size: int, *, seed: int) -> list[Array]:
    """Deal positions out into random blocks of about ``size``, at least two in each.

    Pictures are exchanged within blocks only, so that no more than a block is held at a time
    and each is read once. Blocks are drawn without looking at any score, which keeps a test that
    permutes within them exact.

    Examples
    --------
    >>> [len(block) for block in blocks_of(7, 3, seed=0)]
    [4, 3]
    """
    order = np.random.default_rng(seed).permutation(n_pictures)
    n_blocks = max(1, min(n_pictures // max(2, size), n_pictures // 2))
    return [np.sort(part) for part in np.array_split(order, n_blocks)]


class BlockPairs:
    """Every truth of a block with every prediction of the block.

    Parameters
    ----------
    reader : PairReader
    rows : sequence of int
        Items of one subject.
    size : int
        Pictures per block.
    exchange : Exchange, optional
        Blocks lie within its groups.
    """

    def __init__(
        self,
        reader: PairReader,
        rows: Sequence[int],
        exchange: Exchange | None = None,
        *,
        size: int,
        seed: int,
    ) -> None:
        self.reader = reader
        self.pictures = sorted({reader.items[row].picture for row in rows})
        self.rows = {name: [] for name in self.pictures}  # type: dict[str, list[int]]
        for row in rows:
            self.rows[reader.items[row].picture].append(row)
        within = None if exchange is None else exchange.within(self.pictures)
        codes = np.zeros(len(self.pictures), dtype=int) if within is None else within
        members = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        self.blocks = [
            own[block] for own in members for block in blocks_of(len(own), size, seed=seed)
        ]

    @property
    def groups(self) -> Array:
        """Which block each picture is in, (n_pictures,)."""
        codes = np.zeros(len(self.pictures), dtype=int)
        for code, block in enumerate(self.blocks):
            codes[block] = code
        return codes

    def matrix(self, metric: Any, *, batch_size: int, label: str) -> Array:
        """Return the score of every pair within blocks, (n_pictures, n_pictures).

        Row p, column q: the mean over items and samples of picture q, scored as if p had been
        shown. NaN between blocks.

        Parameters
        ----------
        metric : torchmetrics.Metric
            Of kind ``picture``, with a score per pair that depends on nothing else. It is reset.
        batch_size : int
            Pairs scored at a time.
        """
        scores = np.full((len(self.pictures),) * 2, np.nan)
        for block in progress(self.blocks, label=label, total=len(self.blocks)):
            scores[np.ix_(block, block)] = self._block(metric, block, batch_size)
        return scores

    def _block(self, metric: Any, block: Array, batch_size: int) -> Array:
        places: list[tuple[int, int]] = []
        batch: list[tuple[Pictures, Pictures]] = []
        for place, predicted, truth in self._pairs(block):
            batch.append((predicted, truth))
            places.append(place)
            if len(batch) == batch_size:
                _update(metric, batch, len(places))
                batch = []
        _update(metric, batch, len(places))
        outcome = metric.compute()
        metric.reset()
        sums, counts = np.zeros((len(block),) * 2), np.zeros((len(block),) * 2)
        for (row, column), score in zip(places, outcome.scores, strict=True):
            if np.isfinite(score):
                sums[row, column] += score
                counts[row, column] += 1
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    def _pairs(self, block: Array) -> Iterator[tuple[tuple[int, int], Pictures, Pictures]]:
        truths = [self.reader.shown(self.pictures[position]) for position in block]
        for column, position in enumerate(block):
            for item in self.rows[self.pictures[position]]:
                for sample in range(self.reader.n_samples):
                    predicted = self.reader.sample(item, sample)
                    for row, truth in enumerate(truths):
                        yield (row, column), predicted, truth


def _update(metric: Any, batch: list[tuple[Pictures, Pictures]], end: int) -> None:
    if batch:
        labels = [f"{number:09d}" for number in range(end - len(batch), end)]
        predicted, truth = (np.stack(side) for side in zip(*batch, strict=True))
        metric.update(predicted, truth, labels)
