"""A plain perceptron: the baseline among networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import subject_key
from phosphene.encoders.brain.linear_reader import LinearReader

__all__ = ["MLPEncoder"]


class MLPEncoder(LinearReader):
    """A linear map per subject, shared residual layers, a linear head per part.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`.
    width : int
        Of the shared space.
    depth : int
        Hidden layers after the subject's own.
    dropout : float
    profile_size : int
        Numbers in the kept response profile of a voxel, which new subjects start by; 0 keeps none.
    """

    name = "mlp"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        width: int = 1024,
        depth: int = 2,
        dropout: float = 0.3,
        profile_size: int = 0,
    ) -> None:
        super().__init__(voxels, targets)
        self.width = width
        self.reader = nn.ModuleDict()
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.first = _layer(width, dropout)
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), *_layer(width, dropout)) for _ in range(depth)
        )
        self.heads = nn.ModuleDict(
            {part: nn.Linear(width, math.prod(shape)) for part, shape in self.targets.items()}
        )
        self.keep_profiles(profile_size)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.reader[subject_key(subject)] = nn.Linear(n_voxels, self.width)

    @property
    def readers(self) -> nn.ModuleDict:
        return self.reader

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        shared = self.first(shared)
        for layer in self.hidden:
            shared = shared + layer(shared)
        return {
            part: self.heads[part](shared).unflatten(1, shape)
            for part, shape in self.targets.items()
        }


def _layer(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout))
