"""Optical flow from the voxels that tell of it: small networks that answer together.

What a voxel answers grows with a small power of motion energy, so no linear map gets back how
far things move; and the end-point error is a distance, whose best guess is a median: near zero
where little is known, which least squares does not say. Both are learned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.encoders.brain.voxel_weights import voxel_weights

__all__ = [
    "RUNS",
    "FlowNetwork",
    "best_gain",
    "between_showings",
    "end_point_error",
    "voxels_of_motion",
]

Array = np.ndarray[Any, Any]
RUNS = (1, 2, 3, 5, 10)
"""Showings averaged for which something is known; between them it is interpolated."""
GAINS = np.linspace(0, 1.5, 31)
BATCH, SMALL = 64, 1e-4
CALM = 0.3  # root mean squares of flow, that count as none
RATE, DECAY, WARM = 3e-3, 1e-2, 0.3


class FlowNetwork(nn.Module):
    """Windows (n, n_volumes, n_voxels) to one flow field per clip (n, 2, g, g).

    Parameters
    ----------
    voxels : int
        How many of all are looked at.
    volumes : int
        Of a window; neighbouring pairs are averaged where their number is even.
    grid : int
        Side g of the field.
    hidden, members : int
        Units of each network, and networks whose mean is the answer.
    """

    voxels: Tensor
    mean: Tensor
    scale: Tensor
    gains: Tensor

    def __init__(
        self, voxels: int, volumes: int, grid: int, hidden: int = 64, members: int = 6
    ) -> None:
        super().__init__()
        self.pair = 2 if volumes % 2 == 0 else 1
        inputs = voxels * (volumes // self.pair)
        self.grid = grid
        self.register_buffer("voxels", torch.zeros(voxels, dtype=torch.int32))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("gains", torch.ones(len(RUNS)))
        self.first = nn.Parameter(torch.zeros(members, inputs, hidden))
        self.bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.second = nn.Parameter(torch.zeros(members, hidden, 2 * grid * grid))
        self.offset = nn.Parameter(torch.zeros(members, 1, 2 * grid * grid))

    def inputs(self, windows: Tensor) -> Tensor:
        """Return what the networks see of windows (n, n_volumes, n_voxels), (n, p)."""
        seen = windows[:, :, self.voxels.long()]
        pairs: Tensor = seen.unflatten(1, (-1, self.pair)).mean(2)
        return pairs.flatten(1)

    def forward(self, windows: Tensor, averaged: int = 1) -> Tensor:
        """Return flow (n, 2, g, g) of windows that are means of as many showings."""
        found: Tensor = self._answers(self._standard(self.inputs(windows)), 0.0).mean(0)
        return found.view(-1, 2, self.grid, self.grid) * self.gain(averaged)

    def gain(self, averaged: int) -> float:
        """Return the factor that suits so many showings: noise calls for shorter flow."""
        return float(between_showings(self.gains[:, None], averaged))

    def _standard(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.scale

    def _answers(self, inputs: Tensor, dropout: float, draws: torch.Generator | None = None) -> Any:
        """Return each network's answer (members, n, 2 g g)."""
        x = inputs.expand(len(self.first), -1, -1)
        x = F.gelu(torch.baddbmm(self.bias, _dropped(x, dropout, draws), self.first))
        return torch.baddbmm(self.offset, _dropped(x, dropout, draws), self.second)

    def fit(
        self,
        windows: Tensor,
        flow: Tensor,
        voxels: Tensor,
        *,
        epochs: int,
        dropout: float = 0.5,
        seed: int = 0,
    ) -> None:
        """Learn from clips, by the end-point error at all moments.

        Clips count by one over the root of how much moves in them: the few that move a lot would
        decide alone what is said of all others.

        Parameters
        ----------
        windows : Tensor of shape (n, n_volumes, n_voxels)
        flow : Tensor of shape (n, T, 2, g, g)
        voxels : Tensor of shape (voxels,)
            Which are looked at.
        epochs : int
        dropout : float
            Of inputs and units, while learning.
        seed : int
        """
        draws = torch.Generator().manual_seed(seed)
        self.voxels.copy_(voxels)
        x = self.inputs(windows.float())
        self.mean.copy_(x.mean(0))
        self.scale.copy_(x.std(0, unbiased=False).clamp(min=1e-6))
        x = self._standard(x)
        unit = flow.square().mean().sqrt().clamp(min=1e-9)
        y = (flow / unit).flatten(3)
        weight = (y.norm(dim=2).mean((1, 2)) + CALM).rsqrt()
        weight = weight / weight.mean()
        with torch.no_grad():
            bound = self.first.shape[1] ** -0.5
            self.first.uniform_(-bound, bound, generator=draws)
            self.bias.uniform_(-bound, bound, generator=draws)
            self.second.zero_()
            self.offset.zero_()
        steps = max(1, epochs * (len(x) // min(BATCH, len(x))))
        optimizer = torch.optim.AdamW(self.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=WARM)
        left: Tensor = torch.zeros(0, dtype=torch.long)
        for _ in range(steps):
            if len(left) < min(BATCH, len(x)):
                left = torch.randperm(len(x), generator=draws)
            rows, left = left[:BATCH], left[BATCH:]
            found = self._answers(x[rows], dropout, draws)
            found = found.unflatten(2, (2, -1))[:, :, None]
            errors = ((found - y[rows]).square().sum(3) + SMALL).sqrt().mean((0, 2, 3))
            loss = (weight[rows] * errors).mean() * len(self.first)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            self.second.mul_(unit)
            self.offset.mul_(unit)
        self.requires_grad_(False)


def _dropped(values: Tensor, share: float, draws: torch.Generator | None) -> Tensor:
    """Return values of which a share is 0, in each network others, and the rest longer."""
    if not share:
        return values
    kept = torch.rand(values.shape, generator=draws) >= share
    return values * kept / (1 - share)


def voxels_of_motion(
    windows: Tensor, flow: Tensor, groups: Sequence[Any], *, among: Array | None = None
) -> Tensor:
    """Return voxels, those that tell most of the directions of flow first.

    Of directions: by its size, flow is mostly that of few clips.

    Parameters
    ----------
    windows : Tensor of shape (n, n_volumes, n_voxels)
    flow : Tensor of shape (n, T, 2, g, g)
    groups : sequence of length n
        Movie of each clip.
    among : ndarray of int, optional
        Voxels to choose from; all by default.
    """
    mean = flow.mean(1)
    directions = mean / mean.norm(dim=1, keepdim=True).clamp(min=1e-6)
    told = voxel_weights(windows.flatten(1), directions.flatten(1), groups, windows.shape[1])
    place = torch.arange(windows.shape[2]) if among is None else torch.from_numpy(among)
    found: Tensor = place[told[place].argsort(descending=True, stable=True)]
    return found


def between_showings(values: Tensor, averaged: int) -> Tensor:
    """Return what suits so many showings (k,) of what is known for :data:`RUNS`, (5, k).

    Linear in one over the number of showings: so grows the variance of noise.
    """
    known = [1 / runs for runs in reversed(RUNS)]
    columns = values.flip(0).double().numpy().T
    return torch.tensor([np.interp(1 / averaged, known, column) for column in columns])


def for_all_showings(known: Mapping[int, Tensor]) -> Tensor:
    """Return values for all of :data:`RUNS` (5, ...); those nearest where one is not known."""
    nearest = [min(known, key=lambda n: abs(1 / n - 1 / runs)) for runs in RUNS]
    return torch.stack([known[runs] for runs in nearest])


def end_point_error(found: Tensor, shown: Tensor) -> float:
    """Return the mean length of the difference of flows (n, T, 2, g, g)."""
    return float(_errors(found, shown).mean())


def best_gain(found: Tensor, shown: Tensor) -> float:
    """Return the factor for flow (n, T, 2, g, g) with the smallest end-point error, or a smaller.

    Of all whose error is within one standard error (over clips) of the smallest it is the least
    (Breiman et al. 1984, *Classification and Regression Trees*): few clips move much, and say alone
    how far everything should move.
    """
    errors = torch.stack([_errors(float(gain) * found, shown) for gain in GAINS])
    more = errors - errors[errors.mean(1).argmin()]
    allowed = more.mean(1) <= more.std(1) / len(found) ** 0.5
    return float(GAINS[int(allowed.int().argmax())])


def _errors(found: Tensor, shown: Tensor) -> Tensor:
    """Return the end-point error of each clip (n,)."""
    return (found - shown).square().sum(2).sqrt().mean((1, 2, 3))
