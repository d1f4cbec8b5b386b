"""Mix items of a batch with others of the same subject (MixCo, Kim et al. 2020).

Known defects of the published code that cannot happen here: shares were written over each other
where an item was mixed with itself, so that its label vanished; partners of all subjects counted
from the first subject's rows; low-level targets stayed as they were while voxels were mixed. Here
shares are added, partners are rows of the whole batch, and one object mixes voxels and targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Mixing", "draw_mixing"]

CONCENTRATION = 0.15  # of the symmetric beta distribution
PROBABILITY = 0.5


@dataclass(frozen=True, eq=False)
class Mixing:
    """Which other item goes into each item of a batch, and how much.

    Attributes
    ----------
    own : Tensor of shape (n,)
        Share of the item itself.
    partner : Tensor of shape (n,)
        Row of the other.
    """

    own: Tensor
    partner: Tensor

    @property
    def shares(self) -> Tensor:
        """Shares (n, n) of all items in each; rows sum to one, also where an item is its own."""
        n = len(self.own)
        shares = torch.diag(self.own)
        rows = torch.arange(n, device=shares.device)
        return shares.index_put((rows, self.partner), 1 - self.own, accumulate=True)

    def mix(self, values: Tensor) -> Tensor:
        """Return mixed voxels or targets (n, ...)."""
        own = self.own.to(values).reshape(-1, *[1] * (values.ndim - 1))
        return own * values + (1 - own) * values[self.partner]

    def rows(self, chosen: Tensor, values: Tensor) -> Tensor:
        """Return mixed voxels of some rows alone.

        Parameters
        ----------
        chosen : Tensor of shape (m,)
            Rows of the batch.
        values : Tensor of shape (n, ...)
        """
        return Mixing(self.own[chosen], self.partner[chosen])._onto(values[chosen], values)

    def _onto(self, first: Tensor, values: Tensor) -> Tensor:
        own = self.own.to(values).reshape(-1, *[1] * (values.ndim - 1))
        return own * first + (1 - own) * values[self.partner]


def draw_mixing(
    subjects: Tensor,
    generator: torch.Generator,
    *,
    concentration: float = CONCENTRATION,
    probability: float = PROBABILITY,
) -> Mixing:
    """Draw a partner of the same subject for each item, and a share.

    Parameters
    ----------
    subjects : Tensor of shape (n,)
        Number of each item's subject: voxels of different subjects cannot be mixed.
    generator : torch.Generator
    concentration : float
        Shares follow Beta(c, c): mostly near 0 or 1 for small c.
    probability : float
        That an item is mixed at all.
    """
    n, device = len(subjects), subjects.device
    # A random order within each subject: sorted by subject twice, once by chance and once not.
    noise = torch.rand(n, generator=generator, device=device)
    plain = torch.argsort(subjects, stable=True)
    shuffled = torch.argsort(noise)
    shuffled = shuffled[torch.argsort(subjects[shuffled], stable=True)]
    partner = torch.empty_like(plain)
    partner[plain] = shuffled
    own = _beta(n, concentration, generator, device)
    mixed = torch.rand(n, generator=generator, device=device) < probability
    return Mixing(torch.where(mixed, own, torch.ones_like(own)), partner)


def _beta(n: int, concentration: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw from Beta(c, c) by Johnk's method, which takes a generator of its own."""
    found = torch.empty(n, device=device)
    waiting = torch.ones(n, dtype=torch.bool, device=device)
    while bool(waiting.any()):
        draws = torch.rand(2, n, generator=generator, device=device, dtype=torch.float64)
        logs = draws.log() / concentration
        largest = logs.amax(0)
        total = largest + (logs - largest).exp().sum(0).log()
        accepted = waiting & (total <= 0)
        found[accepted] = (logs[0] - total).exp().float()[accepted]
        waiting = waiting & ~accepted
    return found
