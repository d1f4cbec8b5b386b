"""Means of a random number of each picture's trials, made in one pass over float16 rows.

Gathering all repetitions, making them float32 and multiplying by weights moves each number four
times and needs a buffer for every step; a sum over bags of rows reads the chosen trials once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from phosphene.errors import UsageError
from phosphene.seeds import item_seed

__all__ = ["TrialMeans"]

BLOCK_BYTES = 2**20  # of half means at a time, so that they stay in the processor's cache


class TrialMeans:
    """Trials of items, and means of some of them.

    Parameters
    ----------
    trials : Tensor of shape (n_trials, C, T), float16
        Item by item; on the device they are to stay on.
    counts : Tensor of shape (n_items,), integer
        How many trials each item has, at least one.
    seed : int
        Of the draws.
    average : bool
        Whether a random number of random trials is averaged, other ones in every epoch; else all.
    """

    def __init__(
        self, trials: Tensor, counts: Tensor, *, seed: int = 0, average: bool = True
    ) -> None:
        if trials.ndim != 3 or int(counts.sum()) != len(trials) or int(counts.min()) < 1:
            raise UsageError(
                f"counts of {int(counts.sum())} trials for {tuple(trials.shape)}",
                expected="one count per item, at least 1, together all trials",
            )
        self.trials, self.counts = trials, counts.cpu()
        self.starts = self.counts.cumsum(0) - self.counts
        self.seed, self.average = seed, average
        self._epoch, self._chosen = -1, torch.empty(0)

    def gather(self, rows: Tensor, buffer: dict[str, Any], *, epoch: int) -> dict[str, Tensor]:
        """Return ``{"x": means}`` of items for training, the same for the same epoch.

        Parameters
        ----------
        rows : Tensor of shape (n,), integer
        buffer : dict
            Kept by the caller for batches that may overwrite each other.
        epoch : int
        """
        if epoch != self._epoch:
            self._epoch, self._chosen = epoch, self._draw(epoch)
        if self.trials.device != rows.device:
            self.trials = self.trials.to(rows.device)
        shape = (len(rows), *self.trials.shape[1:])
        out = buffer.get("x")
        if out is None or len(out) < len(rows) or out.device != rows.device:
            out = buffer["x"] = torch.empty(shape, device=rows.device)
        wanted = rows.cpu()
        return {"x": self._means(wanted, self._chosen[wanted], out[: len(rows)])}

    def mean(self, rows: Tensor) -> Tensor:
        """Return means of all trials of items (n, C, T), float32, on the trials' device."""
        out = torch.empty((len(rows), *self.trials.shape[1:]), device=self.trials.device)
        wanted = rows.cpu()
        return self._means(wanted, self._there()[wanted], out)

    def _there(self) -> Tensor:
        return torch.arange(int(self.counts.max())) < self.counts[:, None]

    def _draw(self, epoch: int) -> Tensor:
        """Return which trials of each item count in an epoch (n_items, most)."""
        there = self._there()
        if not self.average or there.shape[1] == 1:
            return there
        generator = torch.Generator().manual_seed(
            item_seed(self.seed, "repetitions", "epoch", epoch)
        )
        order = torch.where(there, torch.rand(there.shape, generator=generator), torch.inf)
        rank = order.argsort(dim=1).argsort(dim=1)
        share = torch.rand((len(there), 1), generator=generator)
        return there & (rank < 1 + (share * self.counts[:, None]).long())

    def _means(self, items: Tensor, chosen: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` with the means of each item's chosen trials."""
        flat, device = self.trials.flatten(1), self.trials.device
        number = chosen.sum(dim=1)
        rows = (self.starts[items][:, None] + torch.arange(chosen.shape[1]))[chosen]
        weights = (1 / number.double()).repeat_interleave(number).to(flat.dtype)
        ends = number.cumsum(0).tolist()
        small = max(1, BLOCK_BYTES // (flat.shape[1] * flat.element_size()))
        size = small if device.type == "cpu" else len(items)
        for first in range(0, len(items), size):
            last = min(first + size, len(items))
            part = slice(ends[first - 1] if first else 0, ends[last - 1])
            sums = _sums(
                flat, rows[part].to(device), weights[part].to(device), number[first:last].to(device)
            )
            out[first:last] = sums.view(out[first:last].shape)
        return out


def _sums(trials: Tensor, rows: Tensor, weights: Tensor, number: Tensor) -> Tensor:
    """Return the weighed sum of each bag's rows (n_bags, n_values); bags are rows in a row."""
    if trials.device.type not in ("cpu", "cuda"):
        return _added(trials, rows, weights, number)
    starts = number.cumsum(0) - number
    found: Tensor = torch.nn.functional.embedding_bag(
        rows, trials, starts, mode="sum", per_sample_weights=weights
    )
    return found


def _added(trials: Tensor, rows: Tensor, weights: Tensor, number: Tensor) -> Tensor:
    """Return the same where a device has no sum over bags."""
    owner = torch.arange(len(number), device=trials.device).repeat_interleave(number)
    out = torch.zeros((len(number), trials.shape[1]), device=trials.device)
    return out.index_add_(0, owner, trials[rows].float() * weights.float()[:, None])
